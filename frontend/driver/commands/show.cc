// exoc show: what a model is.
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>

#include "frontend/driver/commands/commands.h"
#include "frontend/driver/stored_formats.h"

namespace exo {

namespace {

std::string billions(int64_t count) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(count < 1000000000 ? 1 : 2);
  if (count < 1000000) out << static_cast<double>(count) / 1e3 << " thousand";
  else if (count < 1000000000) out << static_cast<double>(count) / 1e6 << " million";
  else out << static_cast<double>(count) / 1e9 << " billion";
  return out.str();
}

double weightBytes(const Graph& graph) {
  double bytes = 0;
  for (const Node& node : graph.nodes) {
    if (node.op == Op::kWeight) bytes += static_cast<double>(sizeBytes(graph.value(node.results[0]).type));
  }
  return bytes;
}

const char* ropeName(RopeType type) {
  switch (type) {
    case RopeType::kDefault: return "default";
    case RopeType::kLinear: return "linear";
    case RopeType::kDynamic: return "dynamic";
    case RopeType::kLlama3: return "llama3";
    case RopeType::kYarn: return "yarn";
    case RopeType::kLongRope: return "longrope";
    case RopeType::kFactors: return "a factor per frequency";
  }
  return "";
}

std::vector<std::string> specialities(const ModelConfig& config) {
  std::vector<std::string> list;
  if (config.moe) {
    list.push_back("mixture of experts: " + std::to_string(config.moe->num_experts) + " experts of width " + std::to_string(config.moe->intermediate_size) + ", " + std::to_string(config.moe->top_k) + " per token");
    if (config.moe->shared_intermediate_size > 0) list.push_back("shared expert of width " + std::to_string(config.moe->shared_intermediate_size));
    if (config.moe->groups > 1) list.push_back("experts out of " + std::to_string(config.moe->top_groups) + " of " + std::to_string(config.moe->groups) + " groups");
  }
  if (const auto& latent = config.latent) {
    list.push_back("latent attention: " + std::to_string(latent->rank) + " + " + std::to_string(config.head_dim) + " elements of cache per token and layer for " + std::to_string(config.num_heads) + " heads" +
                   (latent->query_rank > 0 ? ", queries by way of " + std::to_string(latent->query_rank) : ""));
  }
  if (config.extra_prediction_layers > 0) list.push_back("left out: " + std::to_string(config.extra_prediction_layers) + " layer(s) behind the last that predict further tokens (model.layers." + std::to_string(config.num_layers) + "…)");
  if (config.num_kv_heads != config.num_heads) list.push_back("grouped queries: " + std::to_string(config.num_heads) + " query heads share " + std::to_string(config.num_kv_heads) + " KV heads");
  if (!config.latent && config.head_dim * config.num_heads != config.hidden_size) list.push_back("heads of " + std::to_string(config.head_dim) + ", not hidden size / heads");
  if (config.qk_norm) list.push_back(config.qk_norm_joint ? "norm on query and key, all heads at once" : "norm on each head of query and key");
  if (config.rotaryDim() != config.head_dim) list.push_back("rotary embedding on " + std::to_string(config.rotaryDim()) + " of " + std::to_string(config.head_dim) + " elements of a head");
  if (config.attention_soft_cap > 0 || config.logit_soft_cap > 0) list.push_back("soft caps on scores or logits");
  if (config.qkv_bias) list.push_back("biases on query, key and value");
  if (config.tie_word_embeddings) list.push_back("output head tied to the embedding");
  if (config.rope.type != RopeType::kDefault) list.push_back(std::string("rope scaling: ") + ropeName(config.rope.type));
  std::map<int64_t, int> windows;
  for (const auto& window : config.sliding_window) {
    if (window) ++windows[*window];
  }
  for (const auto& [window, layers] : windows) list.push_back("sliding window of " + std::to_string(window) + " on " + std::to_string(layers) + " layers");
  return list;
}

}  // namespace

Result<int> runShow(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const std::string spec, onlyArgument(arguments, "a model directory, GGUF file or card"));
  EXO_ASSIGN(const Model model, openModel(spec));
  const ModelConfig& config = model.config;
  const ParameterCount count = countParameters(config);
  std::cout << model.name << "\n  family      " << config.family << (model.checkpoint ? "" : " (a card: no weights)") << "\n  layers      " << config.num_layers
            << "\n  hidden      " << config.hidden_size << ", ffn " << config.intermediate_size << ", vocabulary " << config.vocab_size << "\n  parameters  "
            << billions(count.total) << " (" << count.total << "), active per token " << billions(count.active) << " (" << count.active << ")\n  context     " << config.max_position_embeddings << "\n";
  const int64_t context = std::min<int64_t>(config.max_position_embeddings, kDefaultContext);
  for (Quantization quantization : {Quantization::kKeep, Quantization::kF32, Quantization::kBF16, Quantization::kQ8, Quantization::kQ4}) {
    EXO_ASSIGN(const Graph graph, importGraph(model, quantization, context));
    std::cout << "  weights     " << std::left << std::setw(5) << name(quantization) << bytesText(weightBytes(graph)) << "\n";
  }
  if (model.checkpoint) {
    EXO_ASSIGN(const Graph graph, importGraph(model, Quantization::kKeep, context));
    for (const std::string& line : storedFormats(graph, *model.checkpoint)) std::cout << "  stored      " << line << "\n";
  }
  for (const std::string& part : config.ignored) std::cout << "  ignored     " << part << ": only text is read and written\n";
  for (const std::string& line : specialities(config)) std::cout << "  special     " << line << "\n";
  return 0;
}

}  // namespace exo
