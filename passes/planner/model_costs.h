// A model as the planner sees it: what each layer reads, computes, keeps and sends, with everything that a stage's ranks
// can split told apart from what each of them repeats. Plain data, made from the global, unsharded graph.
//
// What is split follows from the ops' factor maps, as choose_parallelism will do it:
//  * an op on whole operands takes a factor that only its weight has (matmul: output columns; embed: vocabulary);
//  * an op on a split operand goes on with that factor: its result is split, or a partial sum where the factor ends
//    (the output projection, down, the partial top-k of split logits);
//  * a partial sum passes through linear ops, and costs one collective where it meets anything else;
//  * an op whose result must be whole (the router's logits) is repeated on every rank.
#pragma once

#include <optional>
#include <vector>

#include "ir/graph.h"

namespace exo {

/// One op's work in one step: time on a rank = max(bytes / read rate, ops / rate of its kind), times its share if split.
struct Work {
  enum class Rate { kF32, kInt8 } rate = Rate::kF32;
  bool is_split = false;
  double bytes = 0, ops = 0;
};

struct StepWork {
  std::vector<Work> work;
  std::vector<double> payloads;       // bytes of each collective inside the stage
  double handed_on_bytes = 0;         // values that later units read: what a transfer carries if the pipeline is cut here
};

/// What pipeline cuts cannot separate: one layer; the first also has the embedding, the last the head.
struct UnitCosts {
  int first_block = 0, end_block = 0;
  StepWork decode, prefill;
  double split_weight_bytes = 0, whole_weight_bytes = 0;
  double head_weight_bytes = 0;       // part of split_weight_bytes that is split by KV head: projections around attention
  int handed_on_values = 0;
  double kv_bytes = 0;                // all heads, at the asked context, all sequences of the batch
  double whole_kv_bytes = 0;          // likewise, of latent caches, which every rank holds
};

/// A weight that several units read (tied embedding): counted in each of them, but a stage with several has it once.
struct SharedWeight {
  std::vector<int> units;
  bool is_split = false;
  double bytes = 0;
};

struct ModelCosts {
  std::vector<UnitCosts> units;
  std::vector<SharedWeight> shared;
  int64_t kv_heads = 1;               // the fewest of any layer: ranks hold whole KV heads (with a latent cache: query heads)
  double split_activation_bytes = 0, whole_activation_bytes = 0;  // most alive at once in any unit, largest step
  double largest_payload_bytes = 0;   // of a collective or transfer, in the largest step
  double returned_bytes = 0;          // the graph's outputs in a decode step: the last stage returns them to the first
  int returned_values = 0;
  double prefill_chunks = 1;          // steps of the prompt whose time to first token is predicted
  double prompt_tokens = 0;
  double batch = 1;
  Encoding weights = Encoding::kF32;  // the encoding most weight bytes have
};

struct CostRequest {
  int64_t max_context = 4096;         // tokens per sequence
  int64_t max_step_tokens = 512;      // tokens of the largest step: chunks of a prefill
  int64_t batch = 1;                  // sequences decoding together
  int64_t cache_tokens = 0;           // positions of KV cache that they share; 0: max_context for each
  /// Weight matrices stored larger than this are counted as if stored so: "what if it were w4?".
  std::optional<Encoding> store_as = std::nullopt;
};
constexpr int64_t kPredictedPromptTokens = 512;

/// Needs: a global graph before choose_parallelism. Error kInvalidInput if the graph has no work or the request is not
/// positive.
Result<ModelCosts> modelCosts(const Graph& graph, const CostRequest& request);

}  // namespace exo
