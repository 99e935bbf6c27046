// The plan for people and for programs: what every node holds and does, what to expect, what was considered and why it
// lost, and everything that was assumed.
#pragma once

#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "passes/planner/planner.h"

namespace exo {

/// What one rank holds and sends. Exact where its local graph is known, else as predicted.
struct RankFigures {
  RankPrediction predicted;
  MemoryUse memory;
  double sent_bytes = 0, sent_messages = 0;  // per decode step of the batch, step descriptors not counted
  bool is_exact = false;                     // from the local graph; communication buffers are always the prediction
};

/// `local`: the module after partition, one graph per rank (matched by Graph::rank), or empty before that.
/// `arena_bytes`: per rank, as plan_memory laid it out; empty while it is not known.
std::vector<RankFigures> rankFigures(const PlannerResult& result, const Module& local, std::span<const int64_t> arena_bytes);

/// `notes`: what passes gave up and why (splits, encodings), one sentence each.
std::string reportText(const PlannerResult& result, const Module& local, std::span<const int64_t> arena_bytes, std::span<const std::string> notes);
nlohmann::json reportJson(const PlannerResult& result, const Module& local, std::span<const int64_t> arena_bytes, std::span<const std::string> notes);

}  // namespace exo
