#include "executor/serve/state/cluster_state.h"

#include <charconv>
#include <fstream>

#include "executor/serve/state/shard_map.h"
#include "ir/base/version.h"

namespace exo::serve {
namespace {

using nlohmann::json;

/// 0 in a plan says: not known.
json known(double value) { return value > 0 ? json(value) : json(); }
json text(const std::string& value) { return value.empty() ? json() : json(value); }

/// Texts come from files and from clients: they may be no UTF-8, and the dashboard is no place to fail for it.
std::string dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

std::string hex(const std::string& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : bytes) out += {kDigits[byte >> 4], kDigits[byte & 15]};
  return out;
}

json planJson(const plan::Plan& plan, const json& report) {
  json out{{"hash", hex(plan.content_hash())}, {"model", plan.model()}, {"quantization", plan.quantization()}, {"max_context", plan.max_context()},
           {"world_size", plan.programs_size()}, {"stage_sizes", plan.stage_sizes()}, {"random_weights", plan.has_random_seed()}, {"report", report}};
  if (plan.programs_size() == 0) return out;
  const program::Program& first = plan.programs(0);
  out["max_step_tokens"] = first.max_tokens();
  out["page_tokens"] = first.page_tokens();
  out["kv_pages"] = first.num_pages();
  return out;
}

json topologyJson(const plan::Plan& plan) {
  json nodes = json::array(), links = json::array();
  for (const plan::Node& node : plan.nodes())
    nodes.push_back({{"name", node.name()}, {"address", text(node.address())}, {"rank", node.has_rank() ? json(node.rank()) : json()}, {"memory_bytes", known(node.memory_bytes())},
                     {"cores", known(node.cores())}, {"read_gb_per_s", known(node.read_gb_per_s())}, {"int8_gop_per_s", known(node.int8_gop_per_s())},
                     {"f32_gflop_per_s", known(node.f32_gflop_per_s())}});
  for (const plan::Link& link : plan.links())
    links.push_back({{"from", link.from()}, {"to", link.to()}, {"transport", link.transport()}, {"latency_us", known(link.latency_us())},
                     {"bandwidth_gbit_per_s", known(link.bandwidth_gbit_per_s())}});
  return {{"nodes", std::move(nodes)}, {"links", std::move(links)}};
}

json modelJson(const ModelInfo& model) {
  return {{"name", model.name}, {"context_length", model.context_length}, {"vocab_size", model.vocab_size}, {"has_tokenizer", model.tokenizer != nullptr},
          {"has_chat_template", model.chat_template != nullptr}};
}

template <class T>
json orNull(const std::optional<T>& value) {
  return value ? json(*value) : json();
}

json toJson(const cluster::NodeReading& r) {
  return {{"processor", r.processor}, {"processors", r.processors}, {"processor_share", orNull(r.processor_share)}, {"memory_bytes", r.memory_bytes},
          {"available_bytes", r.available_bytes}, {"temperature_c", orNull(r.temperature_c)}, {"power_w", orNull(r.power_w)}};
}

json toJson(const NodeMemory& m) { return {{"weights", m.weights}, {"kv", m.kv}, {"arena", m.arena}, {"scratch", m.scratch}}; }

json toJson(const NodeStatus& node) {
  json out{{"name", node.name}, {"state", node.state}, {"resident_bytes", node.resident_bytes > 0 ? json(node.resident_bytes) : json()}, {"loading", nullptr}, {"memory", nullptr}, {"reading", nullptr}};
  if (node.loading) out["loading"] = {{"done_bytes", node.loading->first}, {"total_bytes", node.loading->second}};
  if (node.memory) out["memory"] = toJson(*node.memory);
  if (node.reading) out["reading"] = toJson(*node.reading);
  return out;
}

json toJson(const LinkStatus& link) {
  return {{"from", link.from}, {"to", link.to}, {"transport", link.transport}, {"why", text(link.why)},
          {"sent_bytes_per_s", orNull(link.sent_bytes_per_s)}};
}

const char* stateName(RequestStatus::State state) {
  switch (state) {
    case RequestStatus::State::kWaiting: return "waiting";
    case RequestStatus::State::kPrefilling: return "prefilling";
    case RequestStatus::State::kDecoding: return "decoding";
  }
  return "waiting";
}

json toJson(const RequestStatus& r) {
  return {{"id", r.id}, {"label", r.label}, {"state", stateName(r.state)}, {"prompt_tokens", r.prompt_tokens}, {"cached_tokens", r.cached_tokens},
          {"processed_tokens", r.processed_tokens}, {"generated_tokens", r.generated_tokens}, {"priority", r.priority}, {"age_s", std::chrono::duration<double>(r.age).count()}};
}

json totalsJson(const Metrics& m) {
  return {{"accepted", m.accepted}, {"refused", m.refused}, {"finished", m.finished}, {"cancelled", m.cancelled}, {"failed", m.failed}, {"prompt_tokens", m.prompt_tokens},
          {"cached_prompt_tokens", m.cached_prompt_tokens}, {"generated_tokens", m.generated_tokens}, {"steps", m.steps}, {"preemptions", m.preemptions},
          {"evicted_pages", m.evicted_pages}, {"queue_capacity", m.queue_capacity}, {"kv_pages", m.pages}};
}

template <class Items>
json list(const Items& items) {
  json out = json::array();
  for (const auto& item : items) out.push_back(toJson(item));
  return out;
}

std::vector<int> peersOf(const plan::Plan& plan) {
  std::vector<int> peers;
  for (int rank = 1; rank < plan.programs_size(); ++rank) peers.push_back(rank);
  return peers;
}

}  // namespace

Result<json> readReport(const std::filesystem::path& plan_directory) {
  const std::filesystem::path path = plan_directory / "report.json";
  std::ifstream file(path);
  if (!file) return json();
  json report = json::parse(file, nullptr, false);
  if (!report.is_object()) return invalid(path.string(), ": expected a JSON object, as exoc compile writes it");
  return report;
}

ClusterState::ClusterState(const plan::Plan& plan, const json& report, const ModelInfo& model, std::string instance, double started)
    : instance_(std::move(instance)), started_(started), series_(peersOf(plan)) {
  board_.set("model", modelJson(model));
  board_.set("plan", planJson(plan, report));
  board_.set("topology", topologyJson(plan));
  board_.set("shards", serve::toJson(shardMap(plan)));
}

void ClusterState::publish(const ClusterFacts& facts) {
  const std::lock_guard lock(mutex_);
  series_.add(facts.time, facts.metrics);
  board_.set("engine", {{"version", kVersion}, {"state", name(facts.engine)}, {"started", started_}, {"error", text(facts.error)}});
  board_.set("nodes", list(facts.nodes));
  board_.set("links", list(facts.links));
  board_.set("requests", list(facts.requests));
  board_.set("totals", totalsJson(facts.metrics));
  board_.set("sample", series_.latest());
}

uint64_t ClusterState::numberOf(const std::string& event_id) const {
  const std::string prefix = instance_ + "-";
  if (!event_id.starts_with(prefix)) return 0;
  uint64_t number = 0;
  const char* end = event_id.data() + event_id.size();
  const auto parsed = std::from_chars(event_id.data() + prefix.size(), end, number);
  return parsed.ec == std::errc() && parsed.ptr == end && number <= board_.number() ? number : 0;
}

StateEvent ClusterState::event(uint64_t since) const {
  json data = board_.since(since);
  data["instance"] = instance_;
  data["number"] = board_.number();
  return {instance_ + "-" + std::to_string(board_.number()), dump(data)};
}

std::string ClusterState::snapshot() const {
  const std::lock_guard lock(mutex_);
  return event(0).data;
}

std::optional<StateEvent> ClusterState::next(const std::string& last_event_id) const {
  const std::lock_guard lock(mutex_);
  const uint64_t number = numberOf(last_event_id);
  if (number == board_.number()) return {};
  return event(number);
}

std::string ClusterState::series(double since) const {
  const std::lock_guard lock(mutex_);
  return dump(series_.since(since));
}

}  // namespace exo::serve
