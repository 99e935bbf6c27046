// The arithmetic of ATTENTION: one tile of query vectors that read the same KV head of the same sequence. Internal to codegen.
//
// Positions are cut into chunks of kAttentionChunk, by absolute position. A chunk gives a query a *partial*: the largest score m,
// l = Σ exp(score - m) and o = Σ exp(score - m)·value over the chunk's visible positions. Partials are folded in ascending order of
// chunks by one formula. All of it is a fixed sequence of operations per query: what a query cannot see is neutral (weights 0,
// factor 1), so neither tiles nor threads nor who folds can be seen in the result.
//
// A latent cache (kernels.md) holds rows, of which keys are all and values the leading elements: there a score is a sum over lanes
// at its end, and the rest as ever.
//
// Inside a chunk everything is done page by page for all queries of the tile, so that a page comes from memory once: first all
// scores (into scratch), then the softmax, then the values. Registers hold `width` queries times a few vectors.
#pragma once

#include "codegen/cache_access.h"

namespace exo::codegen {

/// How a tile is cut for registers.
struct AttentionShape {
  int width = 1;    // queries whose accumulators are in registers together
  int queries = 1;  // of a tile at most; a multiple of width
};
/// For tiles of at most `queries` queries.
AttentionShape attentionShape(int64_t queries, const Target& target);

class AttentionTile {
 public:
  struct Query {
    Val in, out;           // pointers to its head_dim floats
    Val position, lowest;  // visible keys: lowest..position, i64
  };
  using QueryAt = std::function<Query(Val index)>;
  /// Positions from..to-1 of one chunk, and the position whose page is read after them.
  struct Span {
    Val chunk, from, to, next;
  };

  AttentionTile(Entry& entry, const program::Kernel& kernel) : e_(entry), kernel_(kernel) {}

  /// Copies `count` queries, scaled, and resets their running results.
  void begin(const AttentionShape& shape, const QueryAt& query_at, Val count);
  /// The partials of one chunk.
  void attend(const Span& span, Val table, Val kv_head);
  /// Calls body(index, partial in scratch) for each query.
  void eachQuery(const std::function<void(Val, Val)>& body);

  void reset(Val query);
  void fold(Val query, Val partial);
  /// `sink`: a logit that joins the softmax without a value, f32; none: null.
  void finish(Val query, Val out, Val sink);
  void copyPartial(Val from, Val to);

  static int64_t partialBytes(const program::Kernel& kernel);
  static int64_t scratchBytes(const program::Kernel& kernel);

 private:
  /// A page to fetch while another one is worked on, and how many of the other's bytes are done. No base: nothing to fetch.
  struct Ahead {
    Val base, done;
  };
  void keys(const Span& span, Val table, Val kv_head);
  void scores(Val column, Val at_score, Val group, const Ahead& ahead);
  void rowKeys(const Span& span, Val rows, Val number, Val fetch);
  void rowScores(Val rows, Val at_score, int positions, Val group, const Ahead& ahead);
  void softmax(const Span& span, Val query);
  void cap(Val scores, Val from, Val to);
  void mask(Val scores, Val from, Val to, const std::function<Val(Val)>& visible);
  void values(const Span& span, Val table, Val kv_head);
  void weigh(Val values, Val at_score, Val count, Val first_vector, int vectors, Val group, const Ahead& ahead);
  void fetch(const Ahead& ahead, Val done, int64_t bytes);
  void eachGroup(const std::function<void(Val, bool)>& body);
  Vals unrolled(Val begin, Val end, const Vals& init, const Fn::Body& body, const std::function<void(Val)>& between);

  int blocks() const;   // of 16 positions, whose scores are in registers together
  int vectors() const;  // of 16 dimensions, likewise
  int64_t paddedDim() const { return cacheValueStride(static_cast<int64_t>(kernel_.head_dim())); }
  int64_t paddedValue() const { return cacheValueStride(attentionValueDim(kernel_)); }
  int64_t rowBytes() const { return paddedDim() * cacheElementBytes(kernel_); }  // of a value, or of a row of a latent cache
  int64_t lineOfBlock() const { return kLanes * cacheElementBytes(kernel_); }
  Val scaledQuery(Val query);
  Val scoresOf(Val query);
  Val partialOf(Val query);
  Val runningOf(Val query);

  Entry& e_;
  const program::Kernel& kernel_;
  AttentionShape shape_;
  QueryAt query_at_;
  Val count_, groups_;
};

}  // namespace exo::codegen
