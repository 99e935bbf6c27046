#include "executor/serve/dialects/metrics_text.h"

#include <sstream>

namespace exo::serve {
namespace {

class Exposition {
 public:
  Exposition() { text_.precision(15); }
  template <class Number>
  void counter(const char* name, const char* help, Number value) {
    head(name, "counter", help);
    text_ << name << " " << value << "\n";
  }
  template <class Number>
  void gauge(const char* name, const char* help, Number value) {
    head(name, "gauge", help);
    text_ << name << " " << value << "\n";
  }
  void histogram(const char* name, const char* help, const DurationHistogram& values) {
    head(name, "histogram", help);
    for (size_t i = 0; i < DurationHistogram::kBounds.size(); ++i) text_ << name << "_bucket{le=\"" << DurationHistogram::kBounds[i] << "\"} " << values.counts[i] << "\n";
    text_ << name << "_bucket{le=\"+Inf\"} " << values.counts.back() << "\n" << name << "_sum " << values.sum << "\n" << name << "_count " << values.counts.back() << "\n";
  }
  void head(const char* name, const char* type, const char* help) { text_ << "# HELP " << name << " " << help << "\n# TYPE " << name << " " << type << "\n"; }
  std::ostringstream& text() { return text_; }

 private:
  std::ostringstream text_;
};

void writeRequests(Exposition& out, const Metrics& m) {
  out.counter("exo_requests_accepted_total", "Requests the engine took.", m.accepted);
  out.counter("exo_requests_refused_total", "Requests refused: queue full, prompt too long, invalid, stopping.", m.refused);
  out.counter("exo_requests_finished_total", "Requests that came to their end.", m.finished);
  out.counter("exo_requests_cancelled_total", "Requests whose client left, or that were cancelled.", m.cancelled);
  out.counter("exo_requests_failed_total", "Requests that ended with an error.", m.failed);
  out.gauge("exo_requests_waiting", "Requests in the queue.", m.waiting);
  out.gauge("exo_requests_running", "Requests that hold KV cache.", m.running);
  out.gauge("exo_queue_capacity", "Requests the queue holds at most.", m.queue_capacity);
}

void writeTokens(Exposition& out, const Metrics& m) {
  out.counter("exo_prompt_tokens_total", "Tokens of prompts, with those from the cache.", m.prompt_tokens);
  out.counter("exo_cached_prompt_tokens_total", "Tokens of prompts that were taken from the cache.", m.cached_prompt_tokens);
  out.counter("exo_generated_tokens_total", "Tokens of answers.", m.generated_tokens);
  out.counter("exo_steps_total", "Steps.", m.steps);
  out.counter("exo_step_tokens_total", "Tokens computed, over all steps.", m.step_tokens);
  out.counter("exo_step_sequences_total", "Sequences in the batch, over all steps.", m.step_sequences);
  out.counter("exo_step_seconds_total", "Time in steps.", m.step_seconds);
  out.gauge("exo_batch_tokens", "Tokens of the last step.", m.last_step_tokens);
  out.gauge("exo_batch_sequences", "Sequences of the last step.", m.last_step_sequences);
  out.counter("exo_preemptions_total", "Sequences that lost their pages to others and were computed anew.", m.preemptions);
}

void writeCache(Exposition& out, const Metrics& m) {
  out.gauge("exo_kv_pages", "Pages of the KV cache.", m.pages);
  out.gauge("exo_kv_pages_used", "Pages that running requests hold.", m.pages_used);
  out.gauge("exo_kv_pages_cached", "Pages kept for prefixes, free when needed.", m.pages_cached);
  out.gauge("exo_kv_page_tokens", "Tokens in a page.", m.page_tokens);
  out.counter("exo_kv_pages_evicted_total", "Kept pages that were given to others.", m.evicted_pages);
}

void writeTimes(Exposition& out, const Metrics& m) {
  out.histogram("exo_queue_seconds", "From the request to its first step.", m.queue);
  out.histogram("exo_time_to_first_token_seconds", "From the request to its first token.", m.time_to_first_token);
  out.histogram("exo_inter_token_seconds", "Between tokens of one request.", m.inter_token);
  out.histogram("exo_request_seconds", "From the request to its end.", m.request);
  out.head("exo_peer_wait_seconds_total", "counter", "Time that the first node waited for a peer inside steps.");
  for (const PeerWait& wait : m.peer_waits) out.text() << "exo_peer_wait_seconds_total{rank=\"" << wait.rank << "\"} " << wait.seconds << "\n";
}

}  // namespace

std::string metricsText(const Metrics& metrics, EngineState state, const http::ServerStats& server) {
  Exposition out;
  writeRequests(out, metrics);
  writeTokens(out, metrics);
  writeCache(out, metrics);
  writeTimes(out, metrics);
  out.head("exo_engine_state", "gauge", "1 for the state the engine is in.");
  for (const EngineState each : {EngineState::kLoading, EngineState::kServing, EngineState::kDraining, EngineState::kStopped, EngineState::kFailed})
    out.text() << "exo_engine_state{state=\"" << name(each) << "\"} " << (each == state ? 1 : 0) << "\n";
  out.counter("exo_http_connections_total", "Connections taken.", server.connections);
  out.gauge("exo_http_open_connections", "Connections now.", server.open_connections);
  out.counter("exo_http_requests_total", "HTTP requests.", server.requests);
  out.counter("exo_http_clients_gone_total", "Clients that left before their answer's end.", server.gone);
  out.counter("exo_http_clients_too_slow_total", "Of them, those that did not read.", server.overflowed);
  return out.text().str();
}

}  // namespace exo::serve
