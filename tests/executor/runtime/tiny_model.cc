#include "tests/executor/runtime/tiny_model.h"

#include <fcntl.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>

namespace exo::runtime::testing {
namespace {

constexpr int kHidden = 64, kHeads = 4, kKvHeads = 2, kHeadDim = 16, kFfn = 96, kLayers = 2;
constexpr int kExperts = 4, kExpertsPerToken = 2, kExpertFfn = 32;

using Vector = std::vector<double>;

uint64_t mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ x >> 31;
}

/// y = W x for the [rows, x.size()] tensor.
Vector apply(const std::string& tensor, int rows, const Vector& x) {
  Vector y(rows, 0.0);
  for (int r = 0; r < rows; ++r)
    for (size_t c = 0; c < x.size(); ++c) y[r] += static_cast<double>(weightAt(tensor, r, static_cast<int64_t>(c), static_cast<int64_t>(x.size()))) * x[c];
  return y;
}

Vector rmsNorm(const std::string& tensor, const Vector& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  const double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + 1e-5);
  Vector y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * static_cast<double>(weightAt(tensor, 0, static_cast<int64_t>(i), static_cast<int64_t>(x.size())));
  return y;
}

/// Rotate-half pairs (i, i + kHeadDim/2) of every head.
void rope(Vector& x, int position) {
  for (size_t head = 0; head < x.size() / kHeadDim; ++head)
    for (int i = 0; i < kHeadDim / 2; ++i) {
      const double angle = position * std::pow(10000.0, -2.0 * i / kHeadDim);
      double& a = x[head * kHeadDim + static_cast<size_t>(i)];
      double& b = x[head * kHeadDim + static_cast<size_t>(i + kHeadDim / 2)];
      const double a0 = a, b0 = b;
      a = a0 * std::cos(angle) - b0 * std::sin(angle);
      b = b0 * std::cos(angle) + a0 * std::sin(angle);
    }
}

void softmax(Vector& x) {
  const double largest = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double& v : x) sum += v = std::exp(v - largest);
  for (double& v : x) v /= sum;
}

/// One query over keys and values [positions][kKvHeads * kHeadDim].
Vector attend(const Vector& q, const std::vector<Vector>& keys, const std::vector<Vector>& values) {
  Vector out(kHeads * kHeadDim, 0.0);
  for (int h = 0; h < kHeads; ++h) {
    const int kv = h / (kHeads / kKvHeads);
    Vector scores(keys.size(), 0.0);
    for (size_t j = 0; j < keys.size(); ++j) {
      for (int e = 0; e < kHeadDim; ++e) scores[j] += q[h * kHeadDim + e] * keys[j][kv * kHeadDim + e];
      scores[j] /= std::sqrt(static_cast<double>(kHeadDim));
    }
    softmax(scores);
    for (size_t j = 0; j < keys.size(); ++j)
      for (int e = 0; e < kHeadDim; ++e) out[h * kHeadDim + e] += scores[j] * values[j][kv * kHeadDim + e];
  }
  return out;
}

Vector gatedFfn(const std::string& prefix, int width, const Vector& x) {
  Vector gate = apply(prefix + "gate_proj.weight", width, x);
  const Vector up = apply(prefix + "up_proj.weight", width, x);
  for (int i = 0; i < width; ++i) gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  return apply(prefix + "down_proj.weight", kHidden, gate);
}

Vector expertFfn(const std::string& prefix, const Vector& x) {
  Vector scores = apply(prefix + "gate.weight", kExperts, x);
  softmax(scores);
  std::vector<int> order(kExperts);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return scores[a] > scores[b]; });
  double sum = 0;
  for (int i = 0; i < kExpertsPerToken; ++i) sum += scores[order[i]];
  Vector out(kHidden, 0.0);
  for (int i = 0; i < kExpertsPerToken; ++i) {
    const Vector y = gatedFfn(prefix + "experts." + std::to_string(order[i]) + ".", kExpertFfn, x);
    for (int d = 0; d < kHidden; ++d) out[d] += scores[order[i]] / sum * y[d];
  }
  return out;
}

void addTo(Vector& x, const Vector& y) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

}  // namespace

float weightAt(const std::string& tensor, int64_t row, int64_t column, int64_t columns) {
  uint64_t key = 1469598103934665603u;
  for (const char c : tensor) key = (key ^ static_cast<uint64_t>(c)) * 1099511628211u;
  const uint64_t bits = mix(key + 0x9e3779b97f4a7c15u * static_cast<uint64_t>(row * columns + column + 1));
  const double uniform = static_cast<double>(bits >> 11) * 0x1.0p-52 - 1;   // [-1, 1)
  if (tensor.find("norm") != std::string::npos) return static_cast<float>(1 + 0.2 * uniform);
  if (tensor == "model.embed_tokens.weight") return static_cast<float>(uniform);
  return static_cast<float>(uniform * 1.7 / std::sqrt(static_cast<double>(columns)));
}

Status readWeight(const program::TensorSlice& slice, int64_t row, std::span<float> out) {
  if (row < static_cast<int64_t>(slice.row_begin()) || row >= static_cast<int64_t>(slice.row_end()))
    return invalid("row ", row, " is outside the slice");
  if (out.size() != slice.column_end() - slice.column_begin()) return invalid("wrong width ", out.size());
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = weightAt(slice.tensor(), row, static_cast<int64_t>(slice.column_begin() + i), static_cast<int64_t>(slice.columns()));
  return {};
}

std::vector<std::vector<double>> referenceLogits(const std::vector<int32_t>& tokens, Ffn ffn) {
  std::vector<Vector> keys[kLayers], values[kLayers];
  std::vector<std::vector<double>> logits;
  for (size_t t = 0; t < tokens.size(); ++t) {
    Vector h(kHidden);
    for (int d = 0; d < kHidden; ++d) h[d] = static_cast<double>(weightAt("model.embed_tokens.weight", tokens[t], d, kHidden));
    for (int layer = 0; layer < kLayers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      const Vector n = rmsNorm(prefix + "input_layernorm.weight", h);
      Vector q = apply(prefix + "self_attn.q_proj.weight", kHeads * kHeadDim, n);
      Vector k = apply(prefix + "self_attn.k_proj.weight", kKvHeads * kHeadDim, n);
      values[layer].push_back(apply(prefix + "self_attn.v_proj.weight", kKvHeads * kHeadDim, n));
      rope(q, static_cast<int>(t));
      rope(k, static_cast<int>(t));
      keys[layer].push_back(k);
      addTo(h, apply(prefix + "self_attn.o_proj.weight", kHidden, attend(q, keys[layer], values[layer])));
      const Vector m = rmsNorm(prefix + "post_attention_layernorm.weight", h);
      const bool experts = ffn == Ffn::kExpertsInLayer1 && layer == 1;
      addTo(h, experts ? expertFfn(prefix + "mlp.", m) : gatedFfn(prefix + "mlp.", kFfn, m));
    }
    logits.push_back(apply("model.embed_tokens.weight", kVocabulary, rmsNorm("model.norm.weight", h)));
  }
  return logits;
}

program::Program loadProgram(const std::string& name) {
  const std::string path = std::string(EXO_TEST_DATA) + "/programs/" + name + ".textproto";
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  program::Program program;
  EXPECT_TRUE(file && google::protobuf::TextFormat::ParseFromString(text.str(), &program)) << path;
  return program;
}

Batch& Batch::add(std::vector<int32_t> tokens, int32_t position, std::vector<int32_t> pages, Rows rows) {
  const int32_t index = static_cast<int32_t>(begin_.size()) - 1;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (rows == Rows::kAll || (rows == Rows::kLast && i + 1 == tokens.size())) rows_.push_back(static_cast<int32_t>(tokens_.size()));
    tokens_.push_back(tokens[i]);
    positions_.push_back(position + static_cast<int32_t>(i));
    sequence_.push_back(index);
  }
  begin_.push_back(static_cast<int32_t>(tokens_.size()));
  pages.resize(stride_, -1);
  pages_.insert(pages_.end(), pages.begin(), pages.end());
  return *this;
}

StepInput Batch::input() const { return {tokens_, positions_, sequence_, begin_, pages_, stride_, rows_}; }

}  // namespace exo::runtime::testing
