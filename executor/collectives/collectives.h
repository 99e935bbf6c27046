// Collectives over a group of ranks, on one-sided links (executor/transport).
//
// Every call is matched with the peers' calls by order. Each message carries what it belongs to (operation, group, number,
// size): programs that disagree get an error that names both sides, never mixed-up data.
// Sums are f32 in rank order, ((r0 + r1) + r2) + ..., by any algorithm: the same bits on every rank, every run, whatever the
// table of algorithms says. (With bf16 on the wire: other bits than without, and again the same everywhere.)
// Any message size: larger ones travel in chunks of a slot, sending and receiving interleaved, so no order of ranks or
// sizes deadlocks. Nothing is allocated per call once the buffers have grown.
// Threads: one at a time per mesh; communicators of one mesh share its links.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "executor/collectives/algorithms.h"
#include "executor/collectives/arrival.h"
#include "executor/collectives/bf16.h"
#include "executor/collectives/runs.h"
#include "executor/transport/mesh.h"
#include "ir/base/result.h"

namespace exo::collectives {

/// How all_reduce writes numbers into messages.
enum class WireFormat : uint8_t {
  kF32,
  /// Every rank's terms, its own too, are rounded to bf16; their f32 sum in rank order is rounded to bf16 again. Half the
  /// bytes; an error of up to 2^-9 of each term and of the sum.
  kBf16,
};

/// Equal on all ranks, but for the timeout.
struct Options {
  std::chrono::milliseconds timeout{30'000};  // of one operation; longer means that a peer is lost
  AlgorithmTable algorithms;
  WireFormat wire = WireFormat::kF32;
  size_t bf16_above_bytes = 64 * 1024;  // of f32: up to this, messages of decode, kBf16 changes nothing
};

class Exchange;
struct Tag;
enum class Operation : uint8_t;

/// `what` names the call in errors ("layers.0.self_attn.o_proj"). Errors of all operations: kInvalidInput for sizes that
/// do not fit (nothing was sent); kTimeout, kPeerLost, kMismatch (scope kLink), kCancelled naming operation, peer and
/// what was awaited. After one of those the mesh is out of step and every later operation returns that error.
class Communicator {
 public:
  /// `group`: ascending, distinct, with this rank; linked with all others of it. The mesh outlives the communicator.
  static Result<std::unique_ptr<Communicator>> create(transport::Mesh& mesh, std::vector<int> group, const Options& options);
  ~Communicator();

  int size() const { return static_cast<int>(group_.size()); }
  int index() const { return index_; }  // of this rank in the group
  const std::vector<int>& group() const { return group_; }
  /// Neighbours in the group that share a host, as indices.
  const Runs& hostRuns() const { return host_runs_; }

  /// out[i] = sum over ranks of in[i]. Equal sizes on all ranks. `out` may be `in`, and must not overlap otherwise.
  Status allReduce(std::span<const float> in, std::span<float> out, std::string_view what);

  /// in: [rows, extents[index()]] → out: [rows, sum(extents)], columns in group order. Extents may be 0.
  Status allGather(int64_t rows, std::span<const int64_t> extents, std::span<const float> in, std::span<float> out,
                   std::string_view what);

  /// in: [rows, sum(extents)] → out: [rows, extents[index()]], of the sum over ranks the columns of this one. No overlap.
  Status reduceScatter(int64_t rows, std::span<const int64_t> extents, std::span<const float> in, std::span<float> out,
                       std::string_view what);

  /// in: one block per rank of the group, of bytes_to[r] bytes; out: one from each, of bytes_from[r]. What rank a sends to
  /// b is what b expects of a (else kMismatch). Sizes may be 0. No overlap.
  Status allToAll(std::span<const size_t> bytes_to, std::span<const size_t> bytes_from, std::span<const std::byte> in,
                  std::span<std::byte> out, std::string_view what);

  /// Attention whose positions are split over ranks. Of each row (a token's head), from this rank's positions: m the largest
  /// score, l the sum of exp(score - m), o [rows, d] the sum of exp(score - m) * value; -inf, 0 and 0 where it has none.
  /// out [rows, d]: attention over all positions; 0 where no rank has any. `out` may be `o`.
  Status logSumExpMerge(int64_t rows, int64_t d, std::span<const float> m, std::span<const float> l, std::span<const float> o,
                        std::span<float> out, std::string_view what);

  /// Per row the k best of all ranks' k candidates, which come best first; id -1 is none, ties: smaller id first.
  /// All four are [rows, k]; an output may be the input of the same type.
  Status topKMerge(int64_t rows, int64_t k, std::span<const float> values, std::span<const int32_t> ids,
                   std::span<float> out_values, std::span<int32_t> out_ids, std::string_view what);

  /// Ranks are global and in the group. The receiver must expect exactly as many bytes.
  Status send(std::span<const int> peers, std::span<const std::byte> bytes, std::string_view what);
  Status recv(int peer, std::span<std::byte> bytes, std::string_view what);

  /// Everyone's `bytes` become those of rank `root` (global).
  Status broadcast(int root, std::span<std::byte> bytes, std::string_view what);

  /// Of the last call: when each peer's (last) message came.
  std::vector<Arrival> arrivals() const;
  /// Of the last call: adds to each peer's entry, by global rank, the seconds from `since` until its (last) message came.
  void addWaits(std::chrono::steady_clock::time_point since, std::span<double> seconds) const;

  /// Returns after every rank of the group came here.
  Status barrier(std::string_view what);

 private:
  Communicator(transport::Mesh& mesh, std::vector<int> group, int index, const Options& options);
  Status beginCollective(Operation operation, std::string_view what);
  Tag tag(Operation operation, size_t total_bytes) const;
  Tag tag(Operation operation, size_t total_bytes, uint64_t number) const;
  template <class BytesTo, class BytesFrom, class Take>
  Status exchangeAll(Operation operation, BytesTo&& bytes_to, BytesFrom&& bytes_from, Take&& take);
  Status gatherBlocks(Operation operation, std::initializer_list<std::span<const std::byte>> parts);
  template <class T>
  bool sumNextChunk(std::span<const T> mine, std::span<T> out, size_t& done_bytes);
  template <class T>
  Status reduce(Algorithm algorithm, std::span<const T> in, std::span<T> out);
  template <class T>
  Status reduceOneShot(std::span<const T> in, std::span<T> out);
  template <class T>
  Status reduceTwoShot(std::span<const T> in, std::span<T> out);
  Status reduceAlong(const Runs& runs, std::span<const float> in, std::span<float> out);
  Status reduceRounded(std::span<const float> in, std::span<float> out);
  std::span<const float> blocksByRank(int64_t rows, std::span<const int64_t> extents, std::span<const float> in);
  Status receiveInto(size_t message, std::span<std::byte> bytes);
  Result<int> indexOf(int peer, std::string_view what) const;
  /// Index among the messages of a call in which everybody sends: this rank has none.
  size_t messageOf(int r) const { return static_cast<size_t>(r < index_ ? r : r - 1); }

  transport::Mesh& mesh_;
  std::vector<int> group_;
  uint64_t group_hash_;
  int index_;
  Runs host_runs_;                                     // neighbours of one host
  std::chrono::milliseconds timeout_;
  Thresholds thresholds_;
  WireFormat wire_;
  size_t bf16_above_bytes_;
  std::unique_ptr<Exchange> exchange_;
  uint64_t number_ = 0;                                // of collective calls so far
  std::vector<uint64_t> sent_to_, received_from_;      // messages of send and recv, by index in the group
  std::vector<const void*> terms_;                     // by index in the group, and one more: the chunk being summed
  std::vector<std::byte> gathered_;                    // of merges: all ranks' blocks
  std::vector<Bf16> rounded_;                          // all_reduce with bf16 on the wire: terms, then sums
  std::vector<float> blocks_;                          // reduce_scatter: the operand, by rank
};

}  // namespace exo::collectives
