#include "frontend/config/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ir/base/result.h"

namespace exo {

double yarnScale(double factor, double mscale) { return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

namespace {

/// theta^(2p/D) for p = 0..D/2-1.
std::vector<float> wavelengthFactors(double theta, int64_t head_dim) {
  std::vector<float> powers(static_cast<size_t>(head_dim / 2));
  const double base = static_cast<float>(theta);
  for (size_t p = 0; p < powers.size(); ++p) {
    const float exponent = static_cast<float>(2 * p) / static_cast<float>(head_dim);
    powers[p] = static_cast<float>(std::pow(base, static_cast<double>(exponent)));
  }
  return powers;
}

std::vector<float> defaultFrequencies(double theta, int64_t head_dim) {
  std::vector<float> frequencies = wavelengthFactors(theta, head_dim);
  for (float& frequency : frequencies) frequency = 1.0f / frequency;
  return frequencies;
}

std::vector<float> dividedFrequencies(const RopeConfig& config, int64_t head_dim) {
  std::vector<float> frequencies = defaultFrequencies(config.theta, head_dim);
  EXO_CHECK(config.frequency_factors.size() == frequencies.size());
  for (size_t p = 0; p < frequencies.size(); ++p) frequencies[p] /= static_cast<float>(config.frequency_factors[p]);
  return frequencies;
}

std::vector<float> linearFrequencies(const RopeConfig& config, int64_t head_dim) {
  std::vector<float> frequencies = defaultFrequencies(config.theta, head_dim);
  for (float& frequency : frequencies) frequency /= static_cast<float>(config.factor);
  return frequencies;
}

// NTK-aware: the base grows so that the slowest pair is interpolated by the whole factor, the fastest not at all.
std::vector<float> dynamicFrequencies(const RopeConfig& config, int64_t head_dim, int64_t max_context) {
  EXO_CHECK(head_dim >= 4 && config.original_max_position_embeddings >= 1);
  const double original = static_cast<double>(config.original_max_position_embeddings);
  const double length = std::max(static_cast<double>(max_context), original);
  const double dim = static_cast<double>(head_dim);
  const double growth = config.factor * length / original - (config.factor - 1.0);
  return defaultFrequencies(config.theta * std::pow(growth, dim / (dim - 2.0)), head_dim);
}

// Long wavelengths are divided by the factor, short ones kept, those between blended by where they lie.
std::vector<float> llama3Frequencies(const RopeConfig& config, int64_t head_dim) {
  const float context = static_cast<float>(config.original_max_position_embeddings);
  const float low = static_cast<float>(config.low_freq_factor), high = static_cast<float>(config.high_freq_factor);
  const float factor = static_cast<float>(config.factor);
  std::vector<float> frequencies = defaultFrequencies(config.theta, head_dim);
  for (float& frequency : frequencies) {
    const float wavelength = static_cast<float>(2.0 * std::numbers::pi) / frequency;
    if (wavelength < context / high) continue;
    if (wavelength > context / low) {
      frequency /= factor;
      continue;
    }
    const float smooth = (context / wavelength - low) / (high - low);
    frequency = (1.0f - smooth) * frequency / factor + smooth * frequency;
  }
  return frequencies;
}

/// The dimension whose pair makes `rotations` turns within the original context.
double correctionDim(const RopeConfig& config, int64_t head_dim, double rotations) {
  const double turns = static_cast<double>(config.original_max_position_embeddings) / (rotations * 2.0 * std::numbers::pi);
  return static_cast<double>(head_dim) * std::log(turns) / (2.0 * std::log(config.theta));
}

std::vector<float> yarnFrequencies(const RopeConfig& config, int64_t head_dim) {
  double low = correctionDim(config, head_dim, config.beta_fast);
  double high = correctionDim(config, head_dim, config.beta_slow);
  if (config.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) high += 0.001;  // as transformers does, against 0/0

  std::vector<float> frequencies = wavelengthFactors(config.theta, head_dim);
  for (size_t p = 0; p < frequencies.size(); ++p) {
    const float extrapolated = 1.0f / frequencies[p];
    const float interpolated = 1.0f / (static_cast<float>(config.factor) * frequencies[p]);
    const float position = (static_cast<float>(p) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float kept = 1.0f - std::clamp(position, 0.0f, 1.0f);
    frequencies[p] = interpolated * (1.0f - kept) + extrapolated * kept;
  }
  return frequencies;
}

// Each pair has its own divisor, found by search (Ding et al. 2024).
std::vector<float> longFrequencies(const RopeConfig& config, int64_t head_dim, int64_t max_context) {
  const auto& factors = max_context > config.original_max_position_embeddings ? config.long_factor : config.short_factor;
  std::vector<float> frequencies = wavelengthFactors(config.theta, head_dim);
  EXO_CHECK(factors.size() == frequencies.size()) << factors.size() << " factors for " << frequencies.size() << " pairs";
  for (size_t p = 0; p < frequencies.size(); ++p) frequencies[p] = 1.0f / (static_cast<float>(factors[p]) * frequencies[p]);
  return frequencies;
}

double longAttentionScaling(const RopeConfig& config) {
  if (config.attention_factor) return *config.attention_factor;
  if (config.factor <= 1.0) return 1.0;
  return std::sqrt(1.0 + std::log(config.factor) / std::log(static_cast<double>(config.original_max_position_embeddings)));
}

double yarnAttentionScaling(const RopeConfig& config) {
  if (config.attention_factor) return *config.attention_factor;
  if (config.mscale == 0.0 || config.mscale_all_dim == 0.0) return yarnScale(config.factor, 1.0);
  return yarnScale(config.factor, config.mscale) / yarnScale(config.factor, config.mscale_all_dim);
}

}  // namespace

RopeTable ropeFrequencies(const RopeConfig& config, int64_t head_dim, int64_t max_context) {
  EXO_CHECK(head_dim >= 2 && head_dim % 2 == 0) << "head_dim " << head_dim;
  switch (config.type) {
    case RopeType::kDefault: return {defaultFrequencies(config.theta, head_dim)};
    case RopeType::kLinear: return {linearFrequencies(config, head_dim)};
    case RopeType::kDynamic: return {dynamicFrequencies(config, head_dim, max_context)};
    case RopeType::kLlama3: return {llama3Frequencies(config, head_dim)};
    case RopeType::kFactors: return {dividedFrequencies(config, head_dim)};
    case RopeType::kYarn: return {yarnFrequencies(config, head_dim), static_cast<float>(yarnAttentionScaling(config))};
    case RopeType::kLongRope: return {longFrequencies(config, head_dim, max_context), static_cast<float>(longAttentionScaling(config))};
  }
  return {};
}

}  // namespace exo
