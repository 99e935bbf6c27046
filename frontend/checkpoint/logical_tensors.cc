#include "frontend/checkpoint/logical_tensors.h"

#include <array>
#include <optional>

#include "frontend/checkpoint/formats/formats.h"
#include "frontend/checkpoint/to_float.h"

namespace exo {
namespace {

constexpr int64_t kMaxDim = int64_t{1} << 40;

/// A quantised format is known by its main tensor: PATH + suffix. `parts` are looked up as PATH + separator + part.
struct Format {
  std::string_view suffix;
  std::optional<DType> dtype;
  std::string_view sibling;  // part that must be there too, or empty
  char separator;
  Result<Stored> (*make)(const WeightParts&, const QuantizationConfig&);
};

Result<Stored> storedGptqOrAwq(const WeightParts& parts, const QuantizationConfig& config) {
  if (config.method == QuantMethod::kGptq) return storedGptq(parts, config);
  if (config.method == QuantMethod::kAwq) return storedAwq(parts, config);
  return invalid(parts.path, ": expected quantization_config of gptq or awq in config.json beside a qweight");
}

Result<Stored> storedPacked(const WeightParts& parts, const QuantizationConfig& config) {
  if (config.method == QuantMethod::kPackedInt) return storedPackedInt(parts, config);
  return invalid(parts.path, ": expected quantization_config of compressed-tensors, pack-quantized, in config.json beside a weight_packed");
}

constexpr std::array kFormats = {
    Format{".weight", DType::kF8E4M3, "", '.', storedFp8},
    Format{".weight", DType::kU32, "scales", '.', storedMlx},
    Format{".weight_packed", std::nullopt, "", '.', storedPacked},
    Format{".qweight", std::nullopt, "", '.', storedGptqOrAwq},
    Format{"_blocks", DType::kU8, "scales", '_', storedMxfp4},
};

constexpr std::array kParts = {"weight", "weight_scale_inv", "weight_scale", "weight_packed", "weight_shape", "weight_zero_point", "weight_g_idx",
                               "scales", "biases", "qweight", "qzeros", "g_idx", "blocks"};

/// Where the rows of one expert in a stack go: every `step`-th from `first` on.
struct Projection {
  std::string name;  // "model.layers.0.mlp.experts.*.gate_proj"
  int64_t first = 0, step = 1;

  std::string of(int64_t expert) const {
    std::string numbered = name;
    return numbered.replace(numbered.find('*'), 1, std::to_string(expert));
  }
};

/// The stack that `path` names: "mlp.switch_mlp.up_proj" (MLX), "mlp.experts.gate_up_proj" (gpt-oss: gate and up
/// alternate). Empty for paths that name no stack.
std::vector<Projection> projectionsOf(const std::string& path) {
  for (const std::string_view folder : {".switch_mlp.", ".experts."}) {
    const size_t at = path.find(folder);
    if (at == std::string::npos) continue;
    const std::string before = path.substr(0, at), projection = path.substr(at + folder.size());
    const bool is_mixtral = before.ends_with("block_sparse_moe");
    const auto named = [&](const char* usual, const char* mixtral) { return before + ".experts.*." + (is_mixtral ? mixtral : usual); };
    if (projection == "gate_proj") return {{named("gate_proj", "w1")}};
    if (projection == "down_proj") return {{named("down_proj", "w2")}};
    if (projection == "up_proj") return {{named("up_proj", "w3")}};
    if (projection == "gate_up_proj") return {{named("gate_proj", "w1"), 0, 2}, {named("up_proj", "w3"), 1, 2}};
  }
  return {};
}

/// Slice `index` of the outermost dimension.
TensorView sliceOf(const TensorView& stack, int64_t index) {
  TensorView slice = stack;
  slice.shape.erase(slice.shape.begin());
  const size_t bytes = stack.bytes.size() / static_cast<size_t>(stack.shape[0]);
  slice.bytes = stack.bytes.subspan(static_cast<size_t>(index) * bytes, bytes);
  return slice;
}

class Builder {
 public:
  Builder(const RawTensors& raw, const QuantizationConfig& config) : raw_(raw), config_(config) {}

  Result<StoredTensors> run() {
    for (const std::string& name : raw_.names) {
      const TensorView& view = *raw_.find(name);
      EXO_TRY(checkSizes(view));
      const Format* format = formatOf(name, view);
      EXO_TRY(format ? addQuantised(name, view, *format) : addPlain(name, view));
    }
    return std::move(tensors_);
  }

 private:
  /// A tensor without elements may claim any size in its other dimensions.
  Status checkSizes(const TensorView& view) const {
    for (const int64_t dim : view.shape)
      if (dim > kMaxDim) return invalid(view.name, ": expected sizes of at most ", kMaxDim, ", got shape ", shapeText(view.shape));
    const bool is_stack = view.shape.size() > 2 || view.name.ends_with("bias");
    if (is_stack && view.numElements() == 0) return invalid(view.name, ": expected at least one element, got shape ", shapeText(view.shape));
    return {};
  }

  const Format* formatOf(const std::string& name, const TensorView& view) const {
    for (const Format& format : kFormats) {
      if (!name.ends_with(format.suffix) || (format.dtype && view.dtype != *format.dtype)) continue;
      const std::string path = name.substr(0, name.size() - format.suffix.size());
      if (format.sibling.empty() || raw_.find(path + format.separator + std::string(format.sibling))) return &format;
    }
    return nullptr;
  }

  Status add(const std::string& name, Stored stored) {
    if (!tensors_.emplace(name, std::move(stored)).second) return invalid(name, ": expected one stored form of this weight, got two");
    return {};
  }

  Status addQuantised(const std::string& name, const TensorView& view, const Format& format) {
    WeightParts parts{name.substr(0, name.size() - format.suffix.size()), {}};
    for (const std::string part : kParts)
      if (const TensorView* found = raw_.find(parts.path + format.separator + part)) parts.tensors.emplace(part, *found);
    const size_t matrix_rank = format.separator == '_' ? 3 : 2;
    if (view.shape.size() == matrix_rank) {
      EXO_ASSIGN(Stored stored, format.make(parts, config_));
      return add(parts.path + ".weight", std::move(stored));
    }
    return addQuantisedStack(parts, view, matrix_rank, format);
  }

  Status addQuantisedStack(const WeightParts& parts, const TensorView& view, size_t matrix_rank, const Format& format) {
    const std::vector<Projection> projections = projectionsOf(parts.path);
    if (view.shape.size() != matrix_rank + 1 || projections.empty())
      return invalid(view.name, ": expected a matrix or a stack of experts, got shape ", shapeText(view.shape));
    for (const auto& [part, stack] : parts.tensors)
      if (stack.shape.empty() || stack.shape[0] != view.shape[0])
        return invalid(stack.name, ": expected one entry for each of the ", view.shape[0], " experts, got shape ", shapeText(stack.shape));
    for (int64_t expert = 0; expert < view.shape[0]; ++expert) {
      WeightParts own{parts.path, {}};
      for (const auto& [part, stack] : parts.tensors) own.tensors.emplace(part, sliceOf(stack, expert));
      EXO_ASSIGN(const Stored stored, format.make(own, config_));
      for (const Projection& projection : projections) {
        if (stored->rows() % projection.step != 0) return invalid(view.name, ": expected as many gate as up rows, got ", stored->rows(), " together");
        EXO_TRY(add(projection.of(expert) + ".weight", projection.step == 1 ? stored : everyOtherRow(stored, projection.first, projection.step)));
      }
    }
    return {};
  }

  Status addPlain(const std::string& name, const TensorView& view) {
    if (!convertsToFloat(view.dtype)) return {};
    EXO_TRY(addPlainStack(name, view));
    if (view.shape.size() == 1) return add(name, storedPlain(view, view.shape, {}));
    if (view.shape.size() == 2) return add(name, storedPlain(view, view.shape, {0, view.shape[1], 1}));
    return {};
  }

  /// Weights [E, rows, columns] and biases [E, rows]; gpt-oss writes its weights [E, columns, rows], without ".weight".
  Status addPlainStack(const std::string& name, const TensorView& view) {
    std::string path = name;
    const auto strip = [&](std::string_view suffix) {
      const bool has = path.ends_with(suffix);
      if (has) path.erase(path.size() - suffix.size());
      return has;
    };
    const bool is_bias = strip("_bias") || strip(".bias"), is_transposed = !is_bias && !strip(".weight");
    const std::vector<Projection> projections = projectionsOf(path);
    if (projections.empty() || view.shape.size() != (is_bias ? 2u : 3u)) return {};  // no stack
    // Other families write [E, columns, 2 · rows] too, with the halves side by side; their stacks have no biases.
    if (is_transposed && !raw_.find(path + "_bias")) return {};
    for (int64_t expert = 0; expert < view.shape[0]; ++expert) {
      const TensorView own = sliceOf(view, expert);
      const int64_t rows = is_transposed ? own.shape[1] : own.shape[0], columns = is_bias ? 1 : own.shape[is_transposed ? 0 : 1];
      for (const auto& [pattern, first, step] : projections) {
        if (rows % step != 0) return invalid(name, ": expected as many gate as up rows, got ", rows, " together");
        const std::string target = Projection{pattern}.of(expert);
        if (is_bias) EXO_TRY(add(target + ".bias", storedPlain(own, {rows / step}, {first, 0, step})));
        else if (is_transposed) EXO_TRY(add(target + ".weight", storedPlain(own, {rows / step, columns}, {first, step, rows})));
        else EXO_TRY(add(target + ".weight", storedPlain(own, {rows / step, columns}, {first * columns, step * columns, 1})));
      }
    }
    return {};
  }

  const RawTensors& raw_;
  const QuantizationConfig& config_;
  StoredTensors tensors_;
};

}  // namespace

Result<StoredTensors> logicalTensors(const RawTensors& raw, const QuantizationConfig& config) { return Builder(raw, config).run(); }

}  // namespace exo
