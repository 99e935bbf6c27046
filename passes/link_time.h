// How long one message takes over a measured link, between and beyond the points of its curve.
#pragma once

#include <algorithm>
#include <optional>
#include <span>

#include "passes/parallel_plan.h"

namespace exo {

/// Linear between points; below the first as long as that; beyond the last at `us_per_byte`. `points` is not empty.
inline double interpolatedUs(std::span<const TopologyLink::Point> points, double us_per_byte, double bytes) {
  const auto above = std::find_if(points.begin(), points.end(), [&](const auto& point) { return static_cast<double>(point.bytes) >= bytes; });
  if (above == points.begin()) return above->us;
  if (above == points.end()) return points.back().us + (bytes - static_cast<double>(points.back().bytes)) * us_per_byte;
  const auto &low = above[-1], &high = *above;
  return low.us + (high.us - low.us) * (bytes - static_cast<double>(low.bytes)) / static_cast<double>(high.bytes - low.bytes);
}

/// Of the last two points; 0 for fewer.
inline double lastUsPerByte(std::span<const TopologyLink::Point> points) {
  if (points.size() < 2) return 0;
  const auto &low = points[points.size() - 2], &high = points.back();
  return std::max(0.0, (high.us - low.us) / static_cast<double>(high.bytes - low.bytes));
}

inline double usPerByte(const TopologyLink& link) {
  return link.bandwidth_gbit_per_s > 0 ? 8e-3 / link.bandwidth_gbit_per_s : lastUsPerByte(link.curve);
}

/// Nothing where neither a curve nor a latency is known.
inline std::optional<double> messageUs(const TopologyLink& link, double bytes) {
  if (!link.curve.empty()) return interpolatedUs(link.curve, usPerByte(link), bytes);
  if (link.latency_us > 0) return link.latency_us + bytes * usPerByte(link);
  return std::nullopt;
}

}  // namespace exo
