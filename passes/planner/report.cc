#include "passes/planner/report.h"

#include <algorithm>
#include <cmath>
#include <iomanip>

#include <nlohmann/json.hpp>

namespace exo {
namespace {

using Table = std::vector<std::vector<std::string>>;

const Graph* localGraph(const Module& local, int rank) {
  for (const Graph& graph : local.graphs)
    if (graph.rank && *graph.rank == rank) return &graph;
  return nullptr;
}

/// A one-shot collective is n - 1 messages of the payload; a send one message to each receiver.
void countNode(const Graph& graph, const Node& node, const RankPrediction& rank, const PlanRequest& request, RankFigures& out) {
  if (!definition(node.op).has(kCollective) || node.op == Op::kRecv) return;
  const auto* send = std::get_if<SendAttrs>(&node.attrs);
  const int group = rank.stage < graph.mesh.numStages() ? graph.mesh.stage_sizes[static_cast<size_t>(rank.stage)] : 1;
  const double messages = send ? static_cast<double>(send->to.size()) : group - 1;
  out.sent_messages += messages;
  out.sent_bytes += messages * graph.cost(node, {request.batch, request.batch, request.batch}).wire_bytes;
}

/// Positions of KV cache in all.
int64_t cacheTokens(const PlanRequest& request) { return request.cache_tokens > 0 ? request.cache_tokens : request.max_context * request.batch; }

void takeExact(const Graph& graph, const PlanRequest& request, RankFigures& out) {
  out.is_exact = true;
  out.memory.weights = out.memory.kv = out.sent_bytes = out.sent_messages = 0;
  for (const Node& node : graph.nodes) {
    for (ValueId id : node.results) {
      const Type& type = graph.value(id).type;
      if (node.op == Op::kWeight) out.memory.weights += static_cast<double>(sizeBytes(type));
      if (node.op != Op::kCache) continue;
      const Type position{type.encoding, {type.shape.begin() + 1, type.shape.end()}};
      out.memory.kv += static_cast<double>(sizeBytes(position)) * static_cast<double>(cacheTokens(request));
    }
    countNode(graph, node, out.predicted, request, out);
  }
}

std::string number(double value, int digits) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

std::string duration(double seconds) { return seconds >= 1 ? number(seconds, 2) + " s" : seconds >= 1e-3 ? number(seconds * 1e3, 2) + " ms" : number(seconds * 1e6, 1) + " us"; }

/// Columns as wide as their widest cell; the first two left aligned, the others, figures, right.
std::string aligned(const Table& table) {
  std::vector<size_t> widths;
  for (const auto& row : table) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string out;
  for (const auto& row : table) {
    std::string line = " ";
    for (size_t c = 0; c < row.size(); ++c) {
      const std::string blanks(widths[c] - row[c].size(), ' ');
      line += " " + (c < 2 ? row[c] + blanks : blanks + row[c]) + " ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string memoryTable(const std::vector<RankFigures>& ranks) {
  Table table = {{"rank", "node", "stage", "share", "weights", "KV cache", "activations", "buffers", "total", "memory", "used", "busy"}};
  for (const RankFigures& r : ranks) {
    const RankPrediction& p = r.predicted;
    const std::string used = std::isfinite(p.memory_bytes) && p.memory_bytes > 0 ? number(100 * r.memory.total() / p.memory_bytes, 0) + " %" : "-";
    table.push_back({std::to_string(p.rank), p.node_name, std::to_string(p.stage), number(100 * p.share, 1) + " %", bytesText(r.memory.weights), bytesText(r.memory.kv),
                     bytesText(r.memory.activations), bytesText(r.memory.communication), bytesText(r.memory.total()), bytesText(p.memory_bytes), used, number(100 * p.busy, 0) + " %"});
  }
  return aligned(table);
}

std::string trafficTable(const std::vector<RankFigures>& ranks) {
  Table table = {{"rank", "node", "messages", "bytes"}};
  for (const RankFigures& r : ranks) table.push_back({std::to_string(r.predicted.rank), r.predicted.node_name, number(r.sent_messages, 0), bytesText(r.sent_bytes)});
  return aligned(table);
}

std::string alternativesTable(const std::vector<Alternative>& alternatives) {
  Table table = {{"arrangement", "", "per token", "first token", "why not"}};
  for (const Alternative& a : alternatives)
    table.push_back({a.name, a.fits ? "" : "(would be)", duration(a.seconds_per_token), duration(a.seconds_to_first_token), a.reason});
  size_t widest = 0;  // the last column is text
  for (const auto& row : table) widest = std::max(widest, row.back().size());
  for (auto& row : table) row.back() += std::string(widest - row.back().size(), ' ');
  return aligned(table);
}

void list(std::ostringstream& out, const char* title, std::span<const std::string> lines) {
  if (lines.empty()) return;
  out << "\n" << title << "\n";
  for (const std::string& line : lines) out << "  - " << line << "\n";
}

nlohmann::json memoryJson(const MemoryUse& use) {
  return {{"weights", use.weights}, {"kv_cache", use.kv}, {"activations", use.activations}, {"communication", use.communication}, {"total", use.total()}};
}

nlohmann::json rankJson(const RankFigures& r, const StagePlan& stage) {
  const RankPrediction& p = r.predicted;
  nlohmann::json json{{"rank", p.rank}, {"node", p.node_name}, {"stage", p.stage}, {"blocks", {stage.first_block, stage.end_block}}, {"share", p.share},
                      {"memory_bytes", memoryJson(r.memory)}, {"busy", p.busy}, {"sent_bytes_per_step", r.sent_bytes}, {"messages_per_step", r.sent_messages}, {"exact", r.is_exact}};
  json["node_memory_bytes"] = std::isfinite(p.memory_bytes) ? nlohmann::json(p.memory_bytes) : nlohmann::json(nullptr);
  return json;
}

}  // namespace

std::vector<RankFigures> rankFigures(const PlannerResult& result, const Module& local, std::span<const int64_t> arena_bytes) {
  std::vector<RankFigures> out;
  for (const RankPrediction& rank : result.prediction.ranks) {
    RankFigures& figures = out.emplace_back(RankFigures{rank, rank.memory, rank.sent_bytes, rank.sent_messages, false});
    if (const Graph* graph = localGraph(local, rank.rank)) takeExact(*graph, result.request, figures);
    if (static_cast<size_t>(rank.rank) < arena_bytes.size()) figures.memory.activations = static_cast<double>(arena_bytes[static_cast<size_t>(rank.rank)]);
  }
  return out;
}

std::string reportText(const PlannerResult& result, const Module& local, std::span<const int64_t> arena_bytes, std::span<const std::string> notes) {
  const Prediction& p = result.prediction;
  const PlanRequest& request = result.request;
  const std::vector<RankFigures> ranks = rankFigures(result, local, arena_bytes);
  const bool is_exact = std::all_of(ranks.begin(), ranks.end(), [](const RankFigures& r) { return r.is_exact; });
  std::ostringstream out;
  out << "Plan: " << result.name << "\n";
  for (size_t s = 0; s < result.plan.stages.size(); ++s) {
    const StagePlan& stage = result.plan.stages[s];
    out << "  stage " << s << ": blocks " << stage.first_block << " to " << stage.end_block - 1 << " on " << stage.nodes.size() << (stage.nodes.size() == 1 ? " node\n" : " nodes\n");
  }
  out << "\nPredicted, at a context of " << request.max_context << " tokens" << (request.batch > 1 ? " and " + std::to_string(request.batch) + " sequences together" : "") << ", KV cache for " << cacheTokens(request) << "\n"
      << "  time per token        " << duration(p.seconds_per_token) << " (" << duration(p.communication_s) << " of it communication)\n"
      << "  tokens per second     " << number(p.tokens_per_second, 2) << "\n"
      << "  time to first token   " << duration(p.seconds_to_first_token) << " for a prompt of " << number(p.prompt_tokens, 0) << " tokens\n"
      << "\nMemory and work per node" << (is_exact ? "" : " (predicted)") << "\n"
      << memoryTable(ranks);
  if (ranks.size() > 1) out << "\nSent per token" << (request.batch > 1 ? " step" : "") << "\n" << trafficTable(ranks);
  for (size_t s = 0; s < result.reduces.size(); ++s)
    if (!result.reduces[s].text.empty()) out << (s == 0 || result.reduces[s - 1].text.empty() ? "\nall_reduce\n" : "") << "  stage " << s << ": " << result.reduces[s].text << "\n";
  if (!result.alternatives.empty()) out << "\nAlso considered\n" << alternativesTable(result.alternatives);
  list(out, "Not split, and why", notes);
  list(out, "Assumed and decided", result.plan.notes);
  return out.str();
}

nlohmann::json reportJson(const PlannerResult& result, const Module& local, std::span<const int64_t> arena_bytes, std::span<const std::string> notes) {
  const Prediction& p = result.prediction;
  nlohmann::json ranks = nlohmann::json::array(), alternatives = nlohmann::json::array(), reduces = nlohmann::json::array();
  for (const RankFigures& r : rankFigures(result, local, arena_bytes)) ranks.push_back(rankJson(r, result.plan.stages[static_cast<size_t>(r.predicted.stage)]));
  for (const Alternative& a : result.alternatives)
    alternatives.push_back({{"name", a.name}, {"fits", a.fits}, {"seconds_per_token", a.seconds_per_token}, {"seconds_to_first_token", a.seconds_to_first_token}, {"reason", a.reason}});
  for (const StageReduce& reduce : result.reduces) reduces.push_back(reduce.text);
  return {{"plan", result.name},
          {"request", {{"strategy", toString(result.request.strategy)}, {"max_context", result.request.max_context}, {"max_step_tokens", result.request.max_step_tokens},
                       {"batch", result.request.batch}, {"cache_tokens", cacheTokens(result.request)}, {"memory_reserve_gib", result.request.memory_reserve_gib}}},
          {"predicted", {{"seconds_per_token", p.seconds_per_token}, {"communication_seconds_per_token", p.communication_s}, {"tokens_per_second", p.tokens_per_second},
                         {"seconds_to_first_token", p.seconds_to_first_token}, {"prompt_tokens", p.prompt_tokens}}},
          {"ranks", ranks},
          {"all_reduce", reduces},
          {"bf16_above_bytes", result.bf16_above_bytes},
          {"alternatives", alternatives},
          {"not_split", std::vector<std::string>(notes.begin(), notes.end())},
          {"notes", result.plan.notes}};
}

}  // namespace exo
