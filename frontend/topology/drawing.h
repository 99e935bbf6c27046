// A topology for people: as text for a terminal, as a graph for Graphviz, as a picture of its own.
#pragma once

#include <string>
#include <string_view>

#include "ir/base/result.h"
#include "passes/parallel_plan.h"

namespace exo {

enum class Drawing { kText, kDot, kSvg };
/// "text", "dot", "svg"
Result<Drawing> parseDrawing(std::string_view text);

/// Nodes with their rates; which link of each pair is the quickest, with its latency and bandwidth; all links by size; which
/// algorithm all_reduce takes up to which size, and what was measured.
std::string drawText(const Topology& topology);
/// One edge per pair: its quickest link; nodes of one machine in a box.
std::string drawDot(const Topology& topology);
/// The same on a circle, the algorithms below.
std::string drawSvg(const Topology& topology);

std::string draw(const Topology& topology, Drawing drawing);

}  // namespace exo
