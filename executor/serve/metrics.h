// What the engine counts, as a snapshot: plain numbers since its start, ready to be written out in any format.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace exo::serve {

/// Of durations, cumulative as Prometheus has it: counts[i] observations were at most kBounds[i]; the last, all.
struct DurationHistogram {
  static constexpr std::array<double, 17> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250};   // seconds
  std::array<uint64_t, kBounds.size() + 1> counts{};
  double sum = 0;   // seconds

  void observe(double seconds);
};

struct PeerWait {
  int rank = 0;
  double seconds = 0;   // that rank 0 waited for it inside steps, in all; waits for several overlap
};

struct Metrics {
  // Requests.
  uint64_t accepted = 0, refused = 0;                                     // refused: queue full, too long, invalid, stopping
  uint64_t finished = 0, cancelled = 0, failed = 0;                       // of the accepted ones
  int64_t waiting = 0, running = 0;                                       // now; running: holds pages
  int64_t queue_capacity = 0;
  // Tokens.
  uint64_t prompt_tokens = 0, cached_prompt_tokens = 0;                   // of requests whose prompt is done; cached ones are counted in both
  uint64_t generated_tokens = 0;
  // Steps.
  uint64_t steps = 0, step_tokens = 0, step_sequences = 0;                // sums: divided by steps they are means
  int64_t last_step_tokens = 0, last_step_sequences = 0;
  double step_seconds = 0;                                                // sum
  uint64_t preemptions = 0;                                               // sequences that lost their pages to others and were computed anew
  // KV cache, in pages.
  int64_t pages = 0, pages_used = 0, pages_cached = 0, page_tokens = 0;   // used: by running requests; cached: kept for prefixes, free when needed
  uint64_t evicted_pages = 0;
  // Times.
  DurationHistogram queue, time_to_first_token, inter_token, request;     // submit → first step; → first token; between tokens; → end
  std::vector<PeerWait> peer_waits;
};

}  // namespace exo::serve
