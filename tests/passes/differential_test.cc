// One global graph against N simulated ranks: random small models through the whole pipeline, run by the interpreter.
// Weights are functions of (name, index), so that a wrong slice, offset or head shows in the logits.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "frontend/architectures/architecture.h"
#include "frontend/checkpoint/random_weights.h"
#include "ir/text.h"
#include "model_runs.h"
#include "passes/canonicalize.h"
#include "passes/fuse.h"
#include "passes/pass.h"
#include "passes/select_kernels.h"

namespace exo {
namespace {

constexpr int64_t kContext = 24;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t in(int64_t low, int64_t high) { return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1)); }
  bool chance(int64_t percent) { return in(1, 100) <= percent; }

 private:
  std::mt19937_64 engine_;
};

enum class Mixture { kNever, kMaybe };

/// Odd on purpose: widths that no rank count divides, head sizes unlike hidden / heads, single KV heads.
ModelConfig randomConfig(Random& random, Mixture mixture) {
  ModelConfig config;
  config.num_layers = random.in(1, 4);
  config.num_kv_heads = random.chance(30) ? 1 : random.in(2, 5);
  config.num_heads = config.num_kv_heads * random.in(1, 4);
  config.head_dim = 2 * random.in(1, 8);
  config.hidden_size = random.in(5, 45);
  config.intermediate_size = random.in(3, 70);
  config.vocab_size = random.in(17, 80);
  config.max_position_embeddings = kContext;
  config.rms_norm_eps = 1e-5;
  config.tie_word_embeddings = random.chance(50);
  config.qkv_bias = random.chance(50);
  config.attention_output_bias = random.chance(30);
  config.mlp_bias = random.chance(30);
  config.qk_norm = random.chance(50);
  config.qk_norm_joint = random.chance(40);
  config.norms = std::array{NormPlaces::kBefore, NormPlaces::kBehind, NormPlaces::kBoth}[static_cast<size_t>(random.in(0, 2))];
  config.norm_offset = random.chance(30) ? 1.0 : 0.0;
  config.embedding_scale = random.chance(30) ? 3.0 : 1.0;
  config.attention_sinks = random.chance(30);
  config.attention_soft_cap = random.chance(30) ? 1.5 : 0.0;
  config.logit_soft_cap = random.chance(30) ? 2.0 : 0.0;
  config.activation = std::array{Activation::kSilu, Activation::kGeluTanh, Activation::kClampedSwiGlu}[static_cast<size_t>(random.in(0, 2))];
  if (config.activation == Activation::kClampedSwiGlu) config.activation_limit = 0.7;
  config.fused_projections = random.chance(30);
  if (random.chance(30)) config.rotary_dim = 2 * random.in(1, config.head_dim / 2);
  if (random.chance(30)) config.window_rope = RopeConfig{.theta = 300.0};
  for (int64_t i = 0; i < config.num_layers; ++i) config.sliding_window.push_back(random.chance(40) ? std::optional(random.in(1, 6)) : std::nullopt);
  config.family = "qwen3";
  if (mixture == Mixture::kMaybe && random.chance(50)) {
    config.family = "qwen2_moe";  // whose tensors have names for shared experts too
    MoeConfig moe;
    moe.num_experts = random.in(2, 7);
    moe.top_k = random.in(1, moe.num_experts);
    moe.norm_topk_prob = random.chance(50);
    moe.intermediate_size = random.in(3, 40);
    if (random.chance(50)) moe.score = RouterScore::kSigmoid;
    moe.correction_bias = random.chance(40);
    moe.groups = moe.num_experts % 2 == 0 && moe.top_k <= moe.num_experts / 2 ? 2 : 1;
    moe.scale = random.chance(30) ? 2.5 : 1.0;
    moe.router_bias = random.chance(30);
    moe.expert_bias = random.chance(30);
    if (random.chance(50)) moe.shared_intermediate_size = random.in(3, 40);
    moe.shared_gate = random.chance(50);
    for (int64_t i = 0; i < config.num_layers; ++i) moe.is_sparse.push_back(random.chance(70));
    config.moe = moe;
  }
  return config;
}

/// Latent attention instead of the configuration's; head_dim 0: odd sizes, else such that heads are whole blocks.
void makeLatent(ModelConfig& config, int64_t head_dim, Random& random) {
  LatentConfig latent;
  const auto size = [&](int64_t most) { return head_dim > 0 ? head_dim * random.in(1, 2) : random.in(1, most); };
  latent.rank = head_dim > 0 ? 2 * head_dim : random.in(1, 20);
  latent.query_rank = random.chance(60) ? size(24) : 0;
  latent.key_dim = head_dim > 0 ? head_dim : random.in(1, 12);
  latent.value_dim = size(12);
  latent.bias = random.chance(40);
  config.latent = latent;
  config.num_kv_heads = config.num_heads;
  config.query_scalar = static_cast<double>(latent.key_dim + config.head_dim);
  config.rotary_dim.reset();
  config.window_rope.reset();
  config.fused_projections = false;
  config.sliding_window.assign(static_cast<size_t>(config.num_layers), std::nullopt);
  if (config.moe) config.moe->shared_gate = false;
  config.family = "deepseek_v3";
}

std::string describe(const ModelConfig& c) {
  std::ostringstream out;
  out << c.num_layers << " layers, heads " << c.num_heads << "/" << c.num_kv_heads << " x " << c.head_dim << ", hidden " << c.hidden_size << ", ffn " << c.intermediate_size << ", vocabulary "
      << c.vocab_size << (c.tie_word_embeddings ? ", tied" : "") << (c.qkv_bias ? ", qkv bias" : "") << (c.attention_output_bias ? ", o bias" : "") << (c.mlp_bias ? ", mlp bias" : "")
      << (c.qk_norm ? c.qk_norm_joint ? ", joint qk norm" : ", qk norm" : "") << (c.norms == NormPlaces::kBefore ? "" : c.norms == NormPlaces::kBehind ? ", norms behind" : ", norms before and behind")
      << (c.fused_projections ? ", fused" : "") << (c.attention_soft_cap > 0 ? ", capped scores" : "") << (c.logit_soft_cap > 0 ? ", capped logits" : "");
  if (c.latent) out << ", latent " << c.latent->rank << " of queries " << c.latent->query_rank << ", key " << c.latent->key_dim << ", value " << c.latent->value_dim;
  if (c.moe) out << ", " << c.moe->top_k << " of " << c.moe->num_experts << " experts x " << c.moe->intermediate_size;
  return out.str();
}

/// `ranks[s]` ranks on stage s; shares from `random`, or equal. A share may be zero as long as one is not.
ParallelPlan planOf(int num_blocks, const std::vector<int>& ranks, Random* random) {
  ParallelPlan plan;
  int block = 0, node = 0;
  for (size_t s = 0; s < ranks.size(); ++s) {
    StagePlan stage;
    stage.first_block = block;
    const int left = num_blocks - block, stages_left = static_cast<int>(ranks.size() - s);
    const int most = std::max(1, left - (stages_left - 1));
    block += stages_left == 1 ? left : random ? static_cast<int>(random->in(1, most)) : std::min(most, left / stages_left);
    stage.end_block = block;
    for (int r = 0; r < ranks[s]; ++r) {
      stage.nodes.push_back(node++);
      stage.shares.push_back(!random ? 1.0 : r > 0 && random->chance(20) ? 0.0 : static_cast<double>(random->in(1, 9)));
    }
    plan.stages.push_back(stage);
  }
  return plan;
}

/// Three steps: two prompts, then the rest of one with a token of the other, then one token each.
std::vector<InterpreterStep> steps(Random& random, int64_t vocabulary) {
  const auto tokens = [&](int count) {
    std::vector<int32_t> ids;
    for (int i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(random.in(0, vocabulary - 1)));
    return ids;
  };
  std::vector<InterpreterStep> result(3);
  testing::appendTokens(result[0], 1, 0, tokens(5));
  testing::appendTokens(result[0], 0, 0, tokens(3));
  testing::appendTokens(result[1], 0, 3, tokens(1));
  testing::appendTokens(result[1], 1, 5, tokens(4));
  testing::appendTokens(result[2], 1, 9, tokens(1));
  testing::appendTokens(result[2], 0, 4, tokens(1));
  result[0].rows = {4, 7};  // only the last tokens' logits, as a server asks
  return result;
}

struct Case {
  ModelConfig config;
  ParallelPlan plan;
  Encoding encoding = Encoding::kF32;
  uint64_t seed = 0;
};

Result<Graph> import(const Case& test) {
  return buildGraph(test.config, {"model", kContext, test.config.vocab_size, [&](const std::string&) { return test.encoding; }, Encoding::kF32});
}

Result<Module> compile(const Graph& graph, const ParallelPlan& plan) {
  PassOptions options;
  options.plan = plan;
  options.max_tokens = options.max_rows = 16;
  Notes notes;
  std::vector<const Pass*> passes;
  for (const Pass& pass : allPasses()) passes.push_back(&pass);
  return runPasses(Module{{graph}}, passes, options, notes, [](size_t, const Pass&, const Module& module) -> Status {
    EXO_ASSIGN(Module again, parseModule(print(module)));
    if (print(again) != print(module)) return invalid("printing is not canonical");
    if (again != module) return invalid("parse(print(m)) != m:\n", print(module));
    return {};
  });
}

struct Worst {
  double relative = 0;
  size_t rows = 0, argmax_differs = 0;
};

/// Vectors (norms and biases) moved by their last bit or two: as far as sums in another order move what they are added to.
WeightFn shaken(const WeightFn& weights, uint64_t seed) {
  auto random = std::make_shared<Random>(seed);
  return [=](const WeightAttrs& attrs, const Type& type, std::vector<float>& out) -> Status {
    EXO_TRY(weights(attrs, type, out));
    if (type.shape.size() > 1) return {};
    for (float& value : out) value *= 1 + static_cast<float>(random->in(-2, 2)) * std::numeric_limits<float>::epsilon() / 2;
    return {};
  };
}

/// Per step, how far (of the range) the whole model's logits move when its vectors are shaken: the most of some attempts.
std::vector<double> ownNoise(const Module& whole, const WeightFn& weights, const std::vector<InterpreterStep>& all) {
  constexpr uint64_t kAttempts = 40;
  std::vector<double> noise(all.size());
  testing::ModelRun still(whole, weights, kContext);
  std::vector<std::vector<std::vector<float>>> wanted;
  for (const InterpreterStep& step : all) wanted.push_back(*still.logits(step));
  for (uint64_t attempt = 0; attempt < kAttempts; ++attempt) {
    testing::ModelRun run(whole, shaken(weights, attempt), kContext);
    for (size_t s = 0; s < all.size(); ++s) {
      const auto moved = testing::compare(*run.logits(all[s]), wanted[s]);
      noise[s] = std::max(noise[s], moved.largest / moved.range);
    }
  }
  return noise;
}

/// What is above the tolerance must be noise of the model itself: a single int8 step that an activation near a rounding edge
/// takes or not, which norms behind it enlarge. The whole model on one rank must then move as far when it is shaken.
void expectNoise(const Module& whole, const WeightFn& weights, const std::vector<InterpreterStep>& all, const std::vector<double>& differences, double tolerance) {
  if (*std::max_element(differences.begin(), differences.end()) <= tolerance) return;
  const std::vector<double> noise = ownNoise(whole, weights, all);
  for (size_t s = 0; s < all.size(); ++s) {
    std::cout << "step " << s << ": ranks differ by " << differences[s] << ", one rank from itself by " << noise[s] << "\n";
    EXPECT_LE(differences[s], std::max(tolerance, 1.5 * noise[s])) << "step " << s;
  }
}

/// The oracle is the global graph; for blocked encodings with the same int8 activations.
void expectEqual(const Case& test, double tolerance, Worst& worst) {
  auto global = import(test);
  ASSERT_TRUE(global.ok()) << global.error();
  auto local = compile(*global, test.plan);
  ASSERT_TRUE(local.ok()) << local.error();
  const auto weights = testing::weightsFrom(std::make_shared<RandomWeights>(test.seed));
  const Module whole{{selectKernels(fuse(canonicalize(*global)))}};
  testing::ModelRun oracle(whole, weights, kContext), ranks(*local, weights, kContext);
  Random random(test.seed);
  const std::vector<InterpreterStep> all = steps(random, test.config.vocab_size);
  std::vector<double> differences;
  for (const InterpreterStep& step : all) {
    auto wanted = oracle.logits(step), got = ranks.logits(step);
    ASSERT_TRUE(wanted.ok()) << wanted.error();
    ASSERT_TRUE(got.ok()) << got.error();
    const auto difference = testing::compare(*got, *wanted);
    differences.push_back(difference.largest / difference.range);
    worst.relative = std::max(worst.relative, differences.back());
    worst.rows += got->size();
    worst.argmax_differs += difference.argmax_differs;
  }
  if (test.encoding != Encoding::kF32) return expectNoise(whole, weights, all, differences, tolerance);
  EXPECT_LE(*std::max_element(differences.begin(), differences.end()), tolerance);
}

std::string describe(const Case& test) {
  std::ostringstream out;
  out << "seed " << test.seed << ": " << describe(test.config) << "; stages";
  for (const StagePlan& stage : test.plan.stages) {
    out << " [" << stage.first_block << ".." << stage.end_block << ":";
    for (double share : stage.shares) out << " " << share;
    out << "]";
  }
  return out.str();
}

const std::vector<std::vector<int>> kMeshes = {{1}, {2}, {3}, {5}, {1, 1}, {1, 1, 1}, {2, 2}, {2, 1}, {1, 3}, {3, 2, 1}, {2, 5}};

class Meshes : public ::testing::TestWithParam<size_t> {
 protected:
  /// head_dim 0: random.
  void sweep(Encoding encoding, Mixture mixture, int64_t head_dim, int count, double tolerance, size_t argmax_slack, bool latent = false) {
    Worst worst;
    for (int i = 0; i < count; ++i) {
      const uint64_t seed = GetParam() * 1000 + static_cast<uint64_t>(i);
      Random random(seed);
      Case test{randomConfig(random, mixture), {}, encoding, seed};
      if (head_dim > 0) test.config.head_dim = head_dim;
      if (latent) makeLatent(test.config, head_dim, random);
      test.plan = planOf(static_cast<int>(test.config.num_layers) + 2, kMeshes[GetParam()], i % 3 == 0 ? nullptr : &random);
      SCOPED_TRACE(describe(test));
      expectEqual(test, tolerance, worst);
      if (HasFatalFailure()) return;
    }
    std::cout << "max |difference| / range " << worst.relative << ", other greedy token in " << worst.argmax_differs << " of " << worst.rows << " rows\n";
    EXPECT_LE(worst.argmax_differs, argmax_slack);
  }
};

/// Only the order of f32 sums differs.
TEST_P(Meshes, RanksEqualTheGlobalGraph) { sweep(Encoding::kF32, Mixture::kMaybe, 0, 24, 2e-4, 0); }

/// Heads of 32 never cut a block of 32: all ranks round weights as the whole does. What remains is that sums in another
/// order move some int8 activations over a rounding edge: a step of 1/127 of their block's largest value (expectNoise). Without
/// experts, which rounding can swap.
TEST_P(Meshes, QuantisedRanksWithWholeBlocksEqualTheGlobalGraph) {
  sweep(Encoding::kW8, Mixture::kNever, 32, 8, 2e-3, 0);
  sweep(Encoding::kW4, Mixture::kNever, 32, 8, 2e-3, 0);
}

/// Small heads cut blocks, which ranks then round on their own, weights and activations alike, to 1/254 of another
/// block's largest value, through up to four layers.
TEST_P(Meshes, QuantisedRanksWithCutBlocksAreNearTheGlobalGraph) { sweep(Encoding::kW8, Mixture::kNever, 0, 12, 0.1, 108 / 5); }

/// Query heads over ranks, latent vectors on each of them.
TEST_P(Meshes, LatentAttentionEqualsTheGlobalGraph) {
  sweep(Encoding::kF32, Mixture::kMaybe, 0, 24, 2e-4, 0, true);
  sweep(Encoding::kW8, Mixture::kNever, 32, 6, 2e-3, 0, true);
}

INSTANTIATE_TEST_SUITE_P(All, Meshes, ::testing::Range<size_t>(0, 11));

}  // namespace
}  // namespace exo
