// all_reduce along runs (algorithms.h: chain, hierarchical). Of a part p, from the first run to the last:
//
//   terms of p of every rank of the run ──► its owner: what came up + terms, in rank order ──► the next run's owner
//   all of the run ◄── its owner, which also hands it down ◄── the sum, from the next run's owner; in the last run its own
//
// What lies in `out` may be overwritten by the sum: that a sum comes back implies that what was added went up.
#include <array>

#include "executor/collectives/arguments.h"
#include "executor/collectives/collectives.h"
#include "executor/collectives/exchange.h"
#include "executor/collectives/runs.h"
#include "executor/collectives/sum.h"

namespace exo::collectives {
namespace {

constexpr size_t kNoMessage = static_cast<size_t>(-1);

/// Where `index` stands in the runs.
struct Place {
  Place(const Runs& runs, int index) : owners(ownersOf(runs)) {
    while (runs[run].end <= index) ++run;
    mine = runs[run];
    if (index - mine.begin >= owners) return;
    part = index - mine.begin;
    if (run > 0) below = runs[run - 1].begin + part;
    if (run + 1 < runs.size()) above = runs[run + 1].begin + part;
  }
  bool owns() const { return part >= 0; }

  int owners;
  size_t run = 0;
  Run mine;
  int part = -1, below = -1, above = -1;  // -1: none. below, above: owners of the part in the runs beside
};

}  // namespace

Status Communicator::reduceAlong(const Runs& runs, std::span<const float> in, std::span<float> out) {
  const Place place(runs, index_);
  constexpr size_t kLine = 64 / sizeof(float);  // parts begin at cache lines
  const size_t lines = (in.size() + kLine - 1) / kLine;
  const auto partBegin = [&](int part) { return std::min(in.size(), lines * static_cast<size_t>(part) / static_cast<size_t>(place.owners) * kLine); };
  const auto partOf = [&](auto values, int part) { return values.subspan(partBegin(part), partBegin(part + 1) - partBegin(part)); };
  const std::span<const float> my_terms = place.owns() ? partOf(in, place.part) : in.first(0);
  const std::span<float> my_sum = place.owns() ? partOf(out, place.part) : out.first(0);

  // Alone at the bottom there is nothing to add: the terms go up as they are.
  const bool adds = place.owns() && (place.below >= 0 || place.mine.size() > 1);
  const bool last = place.above < 0;
  size_t added_bytes = 0, final_bytes = 0;  // of my_sum
  const size_t* const sum_bytes = last ? &added_bytes : &final_bytes;

  std::vector<size_t> terms_from(static_cast<size_t>(place.mine.size()), kNoMessage), sums_from = terms_from;
  const auto others = [&](auto&& body) {
    for (int r = place.mine.begin; r < place.mine.end; ++r)
      if (r != index_) body(r, r - place.mine.begin);
  };
  others([&](int r, int local) {
    if (local < place.owners) {
      const std::span<const float> terms = partOf(in, local);
      exchange_->send(group_[r], tag(Operation::kAllReduce, terms.size_bytes()), std::as_bytes(terms));
    }
    if (place.owns()) terms_from[local] = exchange_->receive(group_[r], tag(Operation::kAllReduce, my_sum.size_bytes()));
  });
  size_t from_below = kNoMessage, from_above = kNoMessage;
  const Tag up = tag(Operation::kAllReduceChain, my_sum.size_bytes()), down = tag(Operation::kAllReduceChainBack, my_sum.size_bytes());
  if (place.below >= 0) {
    from_below = exchange_->receive(group_[place.below], up);
    exchange_->send(group_[place.below], down, std::as_bytes(my_sum), sum_bytes);
  }
  if (place.above >= 0) {
    from_above = exchange_->receive(group_[place.above], down);
    exchange_->send(group_[place.above], up, adds ? std::as_bytes(my_sum) : std::as_bytes(my_terms), adds ? &added_bytes : nullptr);
  }
  others([&](int r, int local) {
    if (place.owns()) exchange_->send(group_[r], tag(Operation::kAllReduceGather, my_sum.size_bytes()), std::as_bytes(my_sum), sum_bytes);
    if (local < place.owners)
      sums_from[local] = exchange_->receive(group_[r], tag(Operation::kAllReduceGather, partOf(out, local).size_bytes()));
  });

  // terms_: what came from below, then those of the run.
  const auto addUp = [&] {
    size_t size = 0, num_terms = 0;
    const auto take = [&](size_t message) {
      const auto chunk = exchange_->chunk(message);
      if (!chunk) return false;
      terms_[num_terms++] = chunk->data();
      size = chunk->size();
      return true;
    };
    if (from_below != kNoMessage && !take(from_below)) return false;
    for (int local = 0; local < place.mine.size(); ++local) {
      if (local == place.part) {
        terms_[num_terms++] = my_terms.data() + added_bytes / sizeof(float);
      } else if (!take(terms_from[local])) {
        return false;
      }
    }
    sumInOrder<float>(std::span(terms_).first(num_terms), my_sum.data() + added_bytes / sizeof(float), size / sizeof(float));
    added_bytes += size;
    if (from_below != kNoMessage) exchange_->releaseChunk(from_below);
    others([&](int, int local) { exchange_->releaseChunk(terms_from[local]); });
    return true;
  };
  const auto takeSum = [&] {
    const auto chunk = exchange_->chunk(from_above);
    if (!chunk) return false;
    copyBytes(reinterpret_cast<std::byte*>(my_sum.data()) + final_bytes, *chunk);
    final_bytes += chunk->size();
    exchange_->releaseChunk(from_above);
    return true;
  };
  const auto takePart = [&](int local) {
    // Behind the terms that come from the same rank.
    if (sums_from[local] == kNoMessage || (terms_from[local] != kNoMessage && !exchange_->receivedAll(terms_from[local]))) return false;
    const auto chunk = exchange_->chunk(sums_from[local]);
    if (!chunk) return false;
    copyBytes(reinterpret_cast<std::byte*>(partOf(out, local).data()) + exchange_->receivedBytes(sums_from[local]), *chunk);
    exchange_->releaseChunk(sums_from[local]);
    return true;
  };
  return exchange_->run([&] {
    bool found = adds && addUp();
    if (from_above != kNoMessage) found = takeSum() || found;
    others([&](int, int local) { found = takePart(local) || found; });
    return found;
  });
}

}  // namespace exo::collectives
