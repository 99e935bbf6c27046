// dashboard_fixture PLAN_DIRECTORY: what a server with this plan would send, with a scripted load of some minutes, as one JSON
// object {"state", "series", "events"}: the dashboard's tests get the real thing's JSON without an engine.
// dashboard_fixture --file PATH ACCEPT_ENCODING: headers and length of a file of the page as JSON, a line break, its bytes.
#include <cmath>
#include <iostream>

#include "codegen/plan.h"
#include "executor/dashboard/dashboard.h"
#include "executor/serve/state/cluster_state.h"
#include "executor/serve/state/shard_map.h"

namespace exo::serve {
namespace {

constexpr double kStart = 1'760'000'000;
constexpr int kSeconds = 430, kEvents = 20;

/// The load: it swells and falls twice, and its latencies with it.
double load(int second) { return 0.55 - 0.45 * std::cos(second * 2 * 3.14159265 / 300); }

void advance(Metrics& m, int second, int peers) {
  const double now = load(second);
  const int streams = 1 + static_cast<int>(now * 7);
  const double step_s = 0.018 + 0.002 * streams;
  const int steps = static_cast<int>(0.97 / step_s);
  m.accepted = m.finished = static_cast<uint64_t>(second) / 3;
  m.running = streams;
  m.waiting = now > 0.85 ? 2 : 0;
  m.queue_capacity = 64;
  m.accepted += static_cast<uint64_t>(streams);
  m.refused = static_cast<uint64_t>(second) / 100;
  m.cancelled = static_cast<uint64_t>(second) / 60;
  m.generated_tokens += static_cast<uint64_t>(steps * streams);
  if (second % 3 == 0) {
    m.prompt_tokens += 420;
    m.cached_prompt_tokens += second % 2 ? 256 : 0;
    m.time_to_first_token.observe(0.12 + 0.4 * now);
    m.request.observe(4 + 5 * now);
    m.queue.observe(now > 0.85 ? 0.3 : 0.001);
  }
  for (int i = 0; i < steps; ++i) m.inter_token.observe(step_s * (i % 20 == 0 ? 1.8 : 1));
  m.steps += static_cast<uint64_t>(steps);
  m.step_seconds += steps * step_s;
  m.step_tokens += static_cast<uint64_t>(steps * (streams + (second % 3 == 0 ? 6 : 0)));
  m.step_sequences += static_cast<uint64_t>(steps * streams);
  m.pages = 512;
  m.pages_used = 20 * streams;
  m.pages_cached = 150 + second / 10;
  m.page_tokens = 64;
  m.peer_waits.resize(static_cast<size_t>(peers));
  for (int p = 0; p < peers; ++p) {
    m.peer_waits[static_cast<size_t>(p)].rank = p + 1;
    m.peer_waits[static_cast<size_t>(p)].seconds += steps * step_s * (0.04 + 0.1 * (p % 3)) / peers;
  }
}

std::vector<RequestStatus> requests(int second, const Metrics& metrics) {
  std::vector<RequestStatus> out;
  for (int i = 0; i < metrics.running + metrics.waiting; ++i) {
    RequestStatus r{.id = static_cast<RequestId>(1000 + i), .label = (i % 3 ? "chatcmpl-9f" : "msg_01") + std::to_string(4200 + i), .prompt_tokens = 180 + 97 * i};
    r.state = i >= metrics.running ? RequestStatus::State::kWaiting : i == metrics.running - 1 ? RequestStatus::State::kPrefilling : RequestStatus::State::kDecoding;
    r.cached_tokens = i % 2 ? 128 : 0;
    r.processed_tokens = r.state == RequestStatus::State::kDecoding ? r.prompt_tokens : r.state == RequestStatus::State::kPrefilling ? r.prompt_tokens / 2 : 0;
    r.generated_tokens = r.state == RequestStatus::State::kDecoding ? 20 + 13 * i + second % 30 : 0;
    r.age = std::chrono::milliseconds(900 * (12 - i));
    out.push_back(r);
  }
  return out;
}

std::vector<NodeStatus> nodes(const plan::Plan& plan, int second) {
  const ShardMap map = shardMap(plan);
  std::vector<NodeStatus> out;
  for (const plan::Node& node : plan.nodes()) {
    if (!node.has_rank()) continue;
    const double memory = node.memory_bytes() > 0 ? node.memory_bytes() : 32e9;
    NodeStatus status{.name = node.name(), .state = "serving"};
    const ShardRank& held = map.ranks[node.rank()];
    status.memory = NodeMemory{held.weight_bytes, held.kv_bytes, held.arena_bytes, 8u << 20};
    status.resident_bytes = held.weight_bytes + held.kv_bytes + held.arena_bytes + (120u << 20);
    // Every fourth machine is one without sensors, as virtual machines are.
    cluster::NodeReading reading{.processor = "AMD Ryzen 9 7950X 16-Core Processor", .processors = node.cores() > 0 ? static_cast<int>(node.cores()) : 8};
    reading.processor_share = 0.35 + 0.5 * load(second) * (node.rank() % 2 ? 0.8 : 1);
    reading.memory_bytes = static_cast<uint64_t>(memory);
    reading.available_bytes = static_cast<uint64_t>(memory * 0.9) - status.resident_bytes;
    if (node.rank() % 4 != 3) reading.temperature_c = 48 + 25 * load(second);
    if (node.rank() % 4 == 0) reading.power_w = 40 + 80 * load(second);
    status.reading = reading;
    out.push_back(status);
  }
  return out;
}

std::vector<LinkStatus> links(const plan::Plan& plan) {
  std::vector<LinkStatus> out;
  for (int a = 0; a < plan.nodes_size(); ++a)
    for (int b = a + 1; b < plan.nodes_size(); ++b)
      if (plan.nodes(a).has_rank() && plan.nodes(b).has_rank()) out.push_back({plan.nodes(a).name(), plan.nodes(b).name(), "tcp", "another host", {}});
  return out;
}

ClusterFacts facts(const plan::Plan& plan, int second, const Metrics& metrics) {
  return {.time = kStart + second, .engine = EngineState::kServing, .metrics = metrics, .requests = requests(second, metrics), .nodes = nodes(plan, second), .links = links(plan)};
}

Status write(const std::string& directory) {
  EXO_ASSIGN(const plan::Plan plan, loadPlan(directory));
  EXO_ASSIGN(const nlohmann::json report, readReport(directory));
  ClusterState state(plan, report, {.name = plan.model(), .context_length = static_cast<int64_t>(plan.max_context()), .vocab_size = 1000}, "fixture", kStart);
  Metrics metrics;
  const int peers = plan.programs_size() - 1;
  for (int second = 0; second < kSeconds; ++second) {
    advance(metrics, second, peers);
    state.publish(facts(plan, second, metrics));
  }
  nlohmann::json out{{"state", nlohmann::json::parse(state.snapshot())}, {"series", nlohmann::json::parse(state.series(0))}, {"events", nlohmann::json::array()}};
  std::string last = state.next("")->id;
  for (int second = kSeconds; second < kSeconds + kEvents; ++second) {
    advance(metrics, second, peers);
    state.publish(facts(plan, second, metrics));
    const auto event = state.next(last);
    out["events"].push_back({{"id", event->id}, {"data", nlohmann::json::parse(event->data)}});
    last = event->id;
  }
  std::cout << out.dump() << "\n";
  return {};
}

Status writeFile(const std::string& path, const std::string& accept_encoding) {
  const auto file = dashboard::find(path, accept_encoding);
  if (!file) return makeError(ErrorCode::kNotFound, "the dashboard has no file ", path);
  nlohmann::json headers = nlohmann::json::object();
  for (const auto& [name, value] : file->headers) headers[std::string(name)] = value;
  std::cout << headers.dump() << "\n";
  std::cout.write(reinterpret_cast<const char*>(file->bytes.data()), static_cast<std::streamsize>(file->bytes.size()));
  return {};
}

}  // namespace
}  // namespace exo::serve

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool file = arguments.size() == 3 && arguments[0] == "--file";
  if (!file && arguments.size() != 1) {
    std::cerr << "usage: dashboard_fixture PLAN_DIRECTORY | --file PATH ACCEPT_ENCODING\n";
    return 2;
  }
  const exo::Status status = file ? exo::serve::writeFile(arguments[1], arguments[2]) : exo::serve::write(arguments[0]);
  if (status.ok()) return 0;
  std::cerr << status.error() << "\n";
  return 1;
}
