// The planner: how a model is spread over the machines at hand. It tries subsets of the nodes, groups them into pipeline
// stages, cuts the layers, sizes every rank's share so that all finish together within their memory, and keeps the plan
// with the quickest decode step (of those within 1 %: the earliest first token, then the fewest nodes). Works from the
// configuration alone; deterministic. See cost_model.h for the formulas.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ir/graph.h"
#include "passes/parallel_plan.h"
#include "passes/planner/cost_model.h"

namespace exo {

struct Strategy {
  enum class Kind {
    kAuto,            // whatever is quickest
    kTensorParallel,  // "tp": one stage of all nodes
    kPipeline,        // "pp": as many stages as nodes
    kGrid             // "tp2pp3": three stages of two nodes
  } kind = Kind::kAuto;
  int tp = 1, pp = 1;  // kGrid
  friend bool operator==(const Strategy&, const Strategy&) = default;
};
/// "auto", "tp", "pp", "tp2pp3"; "tp4" and "pp2" are tp4pp1 and tp1pp2. Error kInvalidInput otherwise.
Result<Strategy> parseStrategy(std::string_view text);
std::string toString(const Strategy& strategy);

/// How all_reduce writes numbers into messages. bf16 only in prefill, and only when asked for: it rounds, so that the answer
/// of several nodes is no longer that of one.
enum class WireChoice { kF32, kBf16, kAuto /* bf16 where the first token comes at least 2 % earlier */ };
/// "f32", "bf16", "auto"
Result<WireChoice> parseWireChoice(std::string_view text);

struct PlanRequest {
  Strategy strategy;
  WireChoice wire = WireChoice::kF32;
  int64_t max_context = 4096;        // tokens per sequence
  int64_t max_step_tokens = 512;     // tokens of the largest step
  int64_t batch = 1;                 // sequences decoding together
  int64_t cache_tokens = 0;          // positions of KV cache that they share, at least max_context; 0: max_context for each
  double memory_reserve_gib = 0.5;   // of every node: the program itself and what else runs there
};

struct RankPrediction {
  int rank = 0, node = 0, stage = 0;
  std::string node_name;
  double share = 1;
  MemoryUse memory;
  double memory_bytes = 0;           // the node's, infinite where not given
  double usable_bytes = 0;           // less the reserve
  double busy = 0;                   // part of a decode step in which the rank works rather than waits
  double sent_bytes = 0, sent_messages = 0;  // per decode step
};

struct Prediction {
  double seconds_per_token = 0;      // a decode step of the batch at the asked context
  double seconds_to_first_token = 0;
  double prompt_tokens = 0;          // of the prompt that the time to first token is for
  double tokens_per_second = 0;      // all sequences of the batch together
  double communication_s = 0;        // part of seconds_per_token spent on the wire
  std::vector<RankPrediction> ranks;
};

struct Alternative {
  std::string name;                  // "tp2pp2 on desk, mini | a, b"
  bool fits = false;
  double seconds_per_token = 0, seconds_to_first_token = 0;  // as if memory sufficed where it does not fit
  std::string reason;                // why it was not taken
};

/// How the ranks of a stage add up.
struct StageReduce {
  std::vector<ReduceStep> steps;      // for the program; empty: the executor's defaults
  std::string text;                   // for people, with where the steps come from
};

struct PlannerResult {
  std::string name;                  // of the chosen arrangement
  ParallelPlan plan;
  Prediction prediction;
  std::vector<StageReduce> reduces;   // by stage
  uint64_t bf16_above_bytes = 0;      // f32 payloads larger than this travel as bf16; 0: none
  std::vector<Alternative> alternatives;  // best first
  PlanRequest request;
};

/// Needs: a global graph before choose_parallelism. Errors: kInvalidInput (request, topology, or a strategy that the
/// nodes or layers are too few for), kDoesNotFit (by how much, where, and what would fit).
Result<PlannerResult> makePlan(const Graph& global, const Topology& topology, const PlanRequest& request);

/// "1.50 GiB", "340 MiB", "12 B".
std::string bytesText(double bytes);

}  // namespace exo
