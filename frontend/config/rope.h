// Rotary position embedding: the inverse frequencies each published scaling rule gives.
// Dims: D head dim. Angles of pair p at position t are t · inverse_frequencies[p]; halves are rotated (x[p], x[p + D/2]).
// Arithmetic follows Hugging Face transformers 5 step by step in f32 (powers rounded from f64).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace exo {

enum class RopeType { kDefault, kLinear, kDynamic, kLlama3, kYarn, kLongRope, kFactors };

/// Parameters a type does not use keep these defaults, so that equal meanings compare equal.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000.0;
  double factor = 1.0;                           // linear, dynamic, llama3, yarn
  int64_t original_max_position_embeddings = 0;  // tokens; dynamic, llama3, yarn
  double low_freq_factor = 0.0;                  // llama3
  double high_freq_factor = 0.0;                 // llama3
  std::optional<double> attention_factor;        // yarn, longrope; absent: computed from factor and the mscales
  double beta_fast = 32.0;                       // yarn
  double beta_slow = 1.0;                        // yarn
  double mscale = 0.0;                           // yarn; 0 = absent
  double mscale_all_dim = 0.0;                   // yarn; 0 = absent
  std::vector<double> short_factor, long_factor;  // longrope: [D/2] each
  bool truncate = true;                          // yarn: round the correction range to whole dimensions
  std::vector<double> frequency_factors;         // factors: [D/2], what each inverse frequency is divided by (GGUF's rope_freqs)
  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

/// yarn's factor on magnitudes: 1 + 0.1 · mscale · ln(factor), 1 for factors up to 1.
double yarnScale(double factor, double mscale);

struct RopeTable {
  std::vector<float> inverse_frequencies;  // [D/2], radians per token
  float attention_scaling = 1.0f;          // multiplies cos and sin
};

/// head_dim: even, ≥ 2 (dynamic: ≥ 4).  max_context: tokens the caller will use at most.
///
/// Only `dynamic` and `longrope` look at max_context: longrope has one set of factors up to the original length and another
/// beyond it, where transformers changes over within a sequence; we take the one that fits max_context. dynamic's definition changes all frequencies with every token beyond the original
/// length, which contradicts a cache of already rotated keys. We fix them for the whole run: up to the original length
/// they are the default ones (what transformers uses there); for a longer max_context they are the ones transformers
/// uses when the sequence has exactly max_context tokens.
RopeTable ropeFrequencies(const RopeConfig& config, int64_t head_dim, int64_t max_context);

}  // namespace exo
