#include "passes/planner/shares.h"

#include <algorithm>
#include <cmath>

namespace exo {
namespace {

constexpr double kSmallestSlope = 1e-15;  // ranks without split work share it equally
constexpr double kRounding = 1e-12;

/// A level at which the inflow (share per second of level) changes: a rank starts to fill, or is full.
struct Bend {
  double level, inflow_change;
  friend bool operator<(const Bend& a, const Bend& b) { return a.level < b.level; }
};

double slopeOf(const RankLoad& rank) { return std::max(rank.slope_s, kSmallestSlope); }

double levelOf(const std::vector<RankLoad>& ranks) {
  std::vector<Bend> bends;
  for (const RankLoad& rank : ranks) {
    if (rank.cap <= 0) continue;
    bends.push_back({rank.fixed_s, 1 / slopeOf(rank)});
    bends.push_back({rank.fixed_s + rank.cap * slopeOf(rank), -1 / slopeOf(rank)});
  }
  std::sort(bends.begin(), bends.end());
  double poured = 0, inflow = 0, level = bends.front().level;
  for (const Bend& bend : bends) {
    const double more = inflow * (bend.level - level);
    if (inflow > 0 && poured + more >= 1) return level + (1 - poured) / inflow;
    poured += more;
    inflow += bend.inflow_change;
    level = bend.level;
  }
  return level;  // the caps sum to 1 within rounding
}

}  // namespace

std::optional<Shares> balanceShares(const std::vector<RankLoad>& ranks) {
  double room = 0;
  for (const RankLoad& rank : ranks) room += std::max(0.0, rank.cap);
  if (room < 1 - kRounding) return std::nullopt;
  if (ranks.size() == 1) return Shares{{1.0}, ranks[0].fixed_s + ranks[0].slope_s};
  const double level = levelOf(ranks);
  Shares out;
  double sum = 0;
  for (const RankLoad& rank : ranks) {
    out.shares.push_back(rank.cap <= 0 ? 0 : std::clamp((level - rank.fixed_s) / slopeOf(rank), 0.0, rank.cap));
    sum += out.shares.back();
  }
  for (size_t i = 0; i < ranks.size(); ++i) {
    out.shares[i] /= sum;
    out.seconds = std::max(out.seconds, ranks[i].fixed_s + out.shares[i] * ranks[i].slope_s);
  }
  return out;
}

}  // namespace exo
