#include "frontend/driver/model.h"

#include <algorithm>
#include <array>

#include "frontend/config/model_cards.h"
#include "frontend/config/suggest.h"
#include "frontend/hub/pull.h"

namespace exo {

namespace {

constexpr std::array kQuantizationNames = {"keep", "f32", "bf16", "q8", "q4"};

/// Letters, digits, '_', '.' and '-' only: names appear in IR text.
std::string graphName(std::string name) {
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-') c = '_';
  }
  return name.empty() ? "model" : name;
}

bool hasWeights(const std::filesystem::path& directory) {
  std::error_code error;
  return std::filesystem::exists(directory / "model.safetensors", error) || std::filesystem::exists(directory / "model.safetensors.index.json", error);
}

/// A card says how its weights are published; of a quantised one it does not say which are.
Encoding publishedEncoding(const ModelConfig& config, const std::string& tensor) {
  const bool is_expert = tensor.find(".experts.") != std::string::npos;
  const bool is_table = tensor == "lm_head.weight" || tensor == "model.embed_tokens.weight";
  switch (config.quantization.method) {
    case QuantMethod::kMlx: return Encoding::kW8;
    case QuantMethod::kMxfp4:
      if (is_expert) return Encoding::kW8;
      break;
    case QuantMethod::kPackedInt:
      if (is_expert) return config.quantization.width.bits == 4 ? Encoding::kW4 : Encoding::kW8;
      break;
    case QuantMethod::kFp8:
    case QuantMethod::kAwq:
      if (!is_table) return Encoding::kW8;
      break;
    case QuantMethod::kGptq:
      if (!is_table) return config.quantization.width.bits == 4 && config.quantization.symmetric ? Encoding::kW4 : Encoding::kW8;
      break;
    case QuantMethod::kNone: break;
  }
  const DType dtype = config.dtype.value_or(DType::kBF16);
  return dtype == DType::kF32 || dtype == DType::kF64 ? Encoding::kF32 : dtype == DType::kF16 ? Encoding::kF16 : Encoding::kBF16;
}

Encoding storedEncoding(const Model& model, const std::string& tensor) {
  const StoredTensor* stored = model.checkpoint ? model.checkpoint->stored(tensor) : nullptr;
  return stored ? stored->traits().encoding : publishedEncoding(model.config, tensor);
}

Encoding encodingOf(const Model& model, Quantization quantization, const std::string& tensor) {
  switch (quantization) {
    case Quantization::kF32: return Encoding::kF32;
    case Quantization::kBF16: return Encoding::kBF16;
    case Quantization::kQ8: return Encoding::kW8;
    case Quantization::kQ4: return Encoding::kW4;
    case Quantization::kKeep: break;
  }
  return storedEncoding(model, tensor);
}

struct Location {
  std::filesystem::path path;
  std::string pulled_name;   // of a downloaded model, whose folder is named by a commit
};

Result<Location> locate(const std::string& spec) {
  std::error_code error;
  const std::optional<hub::Repository> repository = hub::parseRepository(spec);
  if (repository && !std::filesystem::exists(spec, error)) {
    EXO_ASSIGN(const hub::Environment environment, hub::Environment::read());
    EXO_ASSIGN(const std::filesystem::path path, hub::findPulled(environment, *repository));
    return Location{path, isGguf(path) ? "" : repository->name};
  }
  EXO_ASSIGN(const std::filesystem::path path, findModel(spec));
  return Location{path, ""};
}

}  // namespace

Result<Model> openModel(const std::string& spec) {
  EXO_ASSIGN(const Location location, locate(spec));
  const std::filesystem::path& found = location.path;
  Model model;
  EXO_ASSIGN(model.config, loadModelConfig(found));
  std::error_code error;
  const bool is_directory = std::filesystem::is_directory(found, error);
  // A file keeps its name: in the hub's cache it is a link to one without an extension.
  const std::filesystem::path folder = std::filesystem::canonical(is_directory ? found : found.parent_path().empty() ? "." : found.parent_path(), error);
  const std::filesystem::path absolute = is_directory ? folder : folder / found.filename();
  model.name = graphName(!location.pulled_name.empty() ? location.pulled_name : is_directory ? absolute.filename().string() : found.stem().string());
  if (isGguf(found) || (is_directory && hasWeights(absolute))) {
    model.directory = absolute;
    EXO_ASSIGN(Checkpoint checkpoint, Checkpoint::open(absolute));
    model.checkpoint = std::make_shared<const Checkpoint>(std::move(checkpoint));
  } else if (is_directory) {
    model.directory = absolute;  // a tokenizer may be there
  }
  return model;
}

Result<Quantization> parseQuantization(const std::string& text) {
  for (size_t i = 0; i < kQuantizationNames.size(); ++i) {
    if (text == kQuantizationNames[i]) return static_cast<Quantization>(i);
  }
  const std::vector<std::string> known(kQuantizationNames.begin(), kQuantizationNames.end());
  return invalid("--quant: expected keep, f32, bf16, q8 or q4, got \"", text, '"', didYouMean(text, known));
}

std::string name(Quantization quantization) { return kQuantizationNames[static_cast<size_t>(quantization)]; }

Result<Graph> importGraph(const Model& model, Quantization quantization, int64_t max_context) {
  ImportOptions options;
  options.name = model.name;
  options.max_context = max_context;
  options.encoding = [&](const std::string& tensor) { return encodingOf(model, quantization, tensor); };
  options.cache = options.encoding("model.layers.0.self_attn.q_proj.weight") == Encoding::kF32 ? Encoding::kF32 : Encoding::kF16;
  // Where head and embedding are one tensor, some writers keep it under the head's name only.
  const std::string head = "lm_head.weight";
  if (model.config.tie_word_embeddings && model.checkpoint && !model.checkpoint->contains(options.embedding) && model.checkpoint->contains(head)) options.embedding = head;
  EXO_ASSIGN(Graph graph, buildGraph(model.config, options));
  if (model.checkpoint) EXO_TRY(checkWeights(graph, *model.checkpoint));
  return graph;
}

Status checkWeights(const Graph& graph, const Checkpoint& checkpoint) {
  for (const Node& node : graph.nodes) {
    const auto* weight = std::get_if<WeightAttrs>(&node.attrs);
    if (!weight) continue;
    for (int64_t i = 0; i < std::max<int64_t>(weight->stack, 1); ++i) {
      std::string tensor = weight->tensor;
      if (weight->stack > 0) tensor.replace(tensor.find('*'), 1, std::to_string(i));
      auto info = checkpoint.find({tensor, weight->shape});
      if (!info.ok()) return std::move(info).error();
    }
  }
  return {};
}

}  // namespace exo
