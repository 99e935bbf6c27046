// Time and memory of pipeline stages, predicted from a model's costs and the machines' rates.
//
// Time of one op on node i:   max(bytes / read_i, ops / rate_i), times the rank's share if the op is split
//   (a roof line: streaming weights and computing on them overlap). rate_i is int8 for w8 and w4 weights, else f32.
//   bytes: weights once per step (expected distinct experts only), the KV cache at the context, activations in and out.
// Time of a rank:             whole_i + share_i * split_i, sums over the ops of its stage.
// Time of a stage:            max over its ranks + its collectives.
// One collective: by the algorithm that will run, measured or reckoned from the links: reduce_time.h. With bf16 on the wire,
//   payloads of prefill above those of decode travel as half the bytes, at the cost of rounding and widening them.
// Time of a step:             sum over stages + transfers + step descriptor + returned tokens.
//   Transfer between stages:  a + ceil(n_next / n) b / B: rank j of the next stage takes from rank j mod n of this one.
//   Step descriptor: rank 0 to all, one latency; a transfer brings the outputs from the last stage back to the first.
// Time to first token:        one chunk through all stages + (chunks - 1) * the slowest stage.
// Memory of a rank:           whole weights + share * split weights + KV of its heads + activations + communication
//   buffers (two slots per rank of the group for the largest payload, two for what a transfer brings).
//   KV heads are not divided: a rank keeps ceil(share * heads) of them, with the attention weights that go with them.
//   With more ranks than KV heads, query heads are divided instead and a rank's may begin in one KV head and end in the
//   next: one KV head more is counted.
// A decode step at the asked context is the slowest decode step there is: shorter conversations run faster.
#pragma once

#include <optional>
#include <vector>

#include "passes/planner/model_costs.h"
#include "passes/planner/rates.h"
#include "passes/planner/reduce_time.h"
#include "passes/planner/shares.h"

namespace exo {

enum class MemoryLimit { kRespect, kIgnore };
enum class Phase { kDecode, kPrefill };

struct MemoryUse {
  double weights = 0, kv = 0, activations = 0, communication = 0;
  double total() const { return weights + kv + activations + communication; }
};

/// Ranks that work on one stage together.
struct Group {
  std::vector<int> nodes;              // indices into Rates::nodes
  ReduceTime reduce;
  std::vector<double> decode_comm_s, prefill_comm_s;  // of units [0, u)
};

struct StageCost {
  std::vector<double> shares;
  std::vector<double> busy_s;          // per rank, decode
  double decode_s = 0, decode_comm_s = 0;
};

class CostModel {
 public:
  /// `reserve_bytes`: memory of every node that is not ours to use.
  CostModel(ModelCosts model, Rates rates, double reserve_bytes);

  const ModelCosts& model() const { return model_; }
  const Rates& rates() const { return rates_; }
  int numUnits() const { return static_cast<int>(model_.units.size()); }
  double usableBytes(int node) const;

  Group group(std::vector<int> nodes) const;
  /// Units [begin, end) on the group, shares balanced for decode. Nothing if they do not fit.
  std::optional<StageCost> stage(const Group& group, int begin, int end, MemoryLimit limit) const;
  /// Of units [begin, end) with the given shares.
  double prefillSeconds(const Group& group, int begin, int end, const std::vector<double>& shares) const;
  /// One rank's memory for its share of units [begin, end).
  MemoryUse memory(const Group& group, int begin, int end, double share) const;
  double collectiveSeconds(const Group& group, double payload) const;
  /// The same costs when f32 payloads above the largest of decode, and above 64 KiB, travel as bf16.
  CostModel withBf16() const;
  /// Payloads above this travel as bf16; infinite: none.
  double bf16AboveBytes() const { return bf16_above_bytes_; }
  /// The busiest sender's time.
  double transferSeconds(const Group& from, const Group& to, double payload) const;

 private:
  struct Seconds { double whole = 0, split = 0; };
  struct NodeTimes { std::vector<Seconds> decode, prefill; };  // of units [0, u)

  double largestShare(const Group& group, int begin, int end, int node) const;
  double headFraction(const Group& group, double heads_kept) const;
  double headBytes(const Group& group, int begin, int end) const;
  std::vector<Seconds> prefix(int node, Phase phase) const;

  ModelCosts model_;
  Rates rates_;
  double reserve_bytes_;
  double bf16_above_bytes_ = std::numeric_limits<double>::infinity();
  std::vector<NodeTimes> times_;
  std::vector<double> split_weights_, whole_weights_, head_weights_, kv_, whole_kv_;  // of units [0, u)
};

}  // namespace exo
