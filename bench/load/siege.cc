#include "bench/load/siege.h"

#include <algorithm>
#include <thread>

#include "bench/load/fetch.h"

namespace exo::load {
namespace {

using nlohmann::json;
using Kind = Visit::Kind;
using End = VisitOutcome::End;

constexpr Seconds kHealthPause{0.02};
constexpr Seconds kIdlePatience{20};     // until what clients left behind is gone

/// `visits` in all, shared among clients of about ten each.
template <class Make>
void share(std::vector<Client>& clients, int visits, Make make) {
  const int count = (visits + 9) / 10;
  for (int i = 0; i < count; ++i) clients.push_back(make(i, visits / count + (i < visits % count)));
}

std::vector<Client> clientsOf(const SiegeOptions& o, uint64_t seed) {
  std::vector<Client> clients;
  for (int i = 0; i < o.streams; ++i) clients.push_back(answering(o.script, seed, i, o.answers));
  for (int i = 0; i < o.slow; ++i) clients.push_back(slow(o.script, o.read_pause, seed, i, 1));
  share(clients, o.aborted, [&](int i, int count) { return aborting(o.script, seed, i, count); });
  share(clients, o.malformed, [&](int i, int count) { return malformed(o.script, seed, i, count); });
  return clients;
}

/// Why the outcome is wrong; empty if it is not.
std::string wrongOf(const VisitOutcome& o) {
  const std::string how = std::string(name(o.end)) + ", status " + std::to_string(o.status) + ", " + std::to_string(o.tokens) + " of " + std::to_string(o.wanted_tokens) + " tokens";
  switch (o.kind) {
    case Kind::kAnswer:
    case Kind::kSlow: return o.end == End::kWhole && o.status == 200 && o.tokens == o.wanted_tokens ? "" : (o.kind == Kind::kSlow ? "slow reader: " : "answer: ") + how;
    case Kind::kAbort: return o.end == End::kLeft || (o.end == End::kWhole && o.status == 200) ? "" : "client that leaves: " + how;
    case Kind::kMalformed: return o.status >= 400 && o.status < 500 && o.end == End::kWhole ? "" : "malformed request: " + how;
    case Kind::kHealth: return o.status == 200 ? "" : "/health: " + how;
  }
  return "";
}

void count(const std::vector<std::vector<VisitOutcome>>& all, SiegeReport& report) {
  for (const auto& outcomes : all)
    for (const VisitOutcome& o : outcomes) {
      if (std::string wrong = wrongOf(o); !wrong.empty()) {
        report.wrong.push_back(std::move(wrong));
        continue;
      }
      if (o.kind == Kind::kHealth) report.health_s.push_back(o.end_s);
      if (o.kind == Kind::kAnswer || o.kind == Kind::kSlow) ++report.answers, report.tokens += o.tokens;
      if (o.kind == Kind::kAbort) ++report.left;
      if (o.kind == Kind::kMalformed) ++report.refused;
    }
}

/// When nothing runs any more: the state of the cluster. What clients left behind ends with the next step.
Result<json> idleState(const Target& target) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(kIdlePatience);
  for (;;) {
    EXO_ASSIGN(json state, fetch(target, "/v1/cluster/state"));
    const bool idle = state.contains("requests") && state["requests"].empty() && state.value("/sample/running"_json_pointer, 1.0) == 0;
    if (idle || std::chrono::steady_clock::now() > until) return state;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

void checkIdle(const json& state, SiegeReport& report) {
  const json& totals = state["totals"];
  const auto total = [&](const char* key) { return totals.value(key, int64_t{0}); };
  if (!state["requests"].empty()) report.wrong.push_back(std::to_string(state["requests"].size()) + " requests still run when everybody has gone");
  if (total("accepted") != total("finished") + total("cancelled") + total("failed")) report.wrong.push_back("requests were lost: " + totals.dump());
  if (total("failed") != 0) report.wrong.push_back(std::to_string(total("failed")) + " requests failed");
  if (state.value("/sample/kv_used"_json_pointer, 0.0) != 0) report.wrong.push_back("pages are in use when nothing runs");
}

uint64_t residentBytes(const json& state) {
  uint64_t bytes = 0;
  for (const json& node : state["nodes"]) bytes += node["resident_bytes"].is_null() ? 0 : node["resident_bytes"].get<uint64_t>();
  return bytes;
}

/// What a request gets that has one answer: the same before and after.
Result<std::string> fixedAnswer(const Target& target, const std::string& model) {
  EXO_ASSIGN(const json answer, fetch(target, "/v1/completions", json{{"model", model}, {"prompt", {17, 23, 42, 11}}, {"max_tokens", 24}, {"temperature", 0}, {"ignore_eos", true}}.dump()));
  return answer.value("/choices/0/text"_json_pointer, std::string());
}

Result<std::vector<std::vector<VisitOutcome>>> round(const Target& target, const SiegeOptions& options, uint64_t seed) {
  return run(target, clientsOf(options, seed), options.patience, {watching(kHealthPause)});
}

}  // namespace

Result<SiegeReport> besiege(const Target& target, const SiegeOptions& given) {
  SiegeOptions options = given;
  EXO_ASSIGN(options.script.model, modelOf(target));
  EXO_ASSIGN(const std::string before, fixedAnswer(target, options.script.model));
  SiegeReport report;
  for (int i = 0; i < options.rounds; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    EXO_ASSIGN(const auto outcomes, round(target, options, options.seed + static_cast<uint64_t>(i)));
    report.round_s.push_back(Seconds(std::chrono::steady_clock::now() - begun).count());
    count(outcomes, report);
    EXO_ASSIGN(const json state, idleState(target));
    checkIdle(state, report);
    report.resident_bytes.push_back(residentBytes(state));
  }
  EXO_ASSIGN(const std::string after, fixedAnswer(target, options.script.model));
  if (before != after) report.wrong.push_back("the same request got another answer: \"" + before + "\", then \"" + after + "\"");
  return report;
}

}  // namespace exo::load
