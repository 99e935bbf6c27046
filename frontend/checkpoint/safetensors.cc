#include "frontend/checkpoint/safetensors.h"

#include <algorithm>
#include <array>

#include "frontend/checkpoint/replacing_file.h"
#include "frontend/config/json_reader.h"

namespace exo {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxRank = 16;
constexpr char kMetadataKey[] = "__metadata__";

/// The header text after checking its length against the file.
Result<std::string_view> headerText(std::span<const std::byte> file, const std::string& where) {
  if (file.size() < kLengthBytes)
    return invalid(where, ": expected a safetensors file of at least 8 bytes, got ", file.size());
  uint64_t size = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) size |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  if (size > kMaxSafetensorsHeaderBytes)
    return invalid(where, ": expected a safetensors header of at most ", kMaxSafetensorsHeaderBytes, " bytes, got ", size);
  if (size > file.size() - kLengthBytes)
    return invalid(where, ": expected at least 8 + ", size, " bytes (its header), got ", file.size());
  return std::string_view(reinterpret_cast<const char*>(file.data()) + kLengthBytes, size);
}

/// Number of elements, or nothing if it exceeds 2^62.
std::optional<int64_t> countElements(std::span<const int64_t> shape) {
  int64_t count = 1;
  for (const int64_t dim : shape)
    if (__builtin_mul_overflow(count, dim, &count) || count > (int64_t{1} << 62)) return std::nullopt;
  return count;
}

Result<std::vector<int64_t>> readShape(const JsonObject& entry) {
  EXO_ASSIGN(auto shape, entry.findIntegers("shape", {.min = 0}));
  if (!shape) return entry.expected("shape", "a list");
  if (shape->size() > kMaxRank) return entry.expected("shape", "at most 16 dimensions");
  return std::move(*shape);
}

/// [begin, end) in the data section.
Result<std::pair<size_t, size_t>> readOffsets(const JsonObject& entry, size_t data_size) {
  EXO_ASSIGN(const auto offsets, entry.findIntegers("data_offsets", {.min = 0}));
  if (!offsets || offsets->size() != 2) return entry.expected("data_offsets", "two integers");
  const auto begin = static_cast<size_t>((*offsets)[0]), end = static_cast<size_t>((*offsets)[1]);
  if (begin > end || end > data_size)
    return entry.expected("data_offsets", "begin ≤ end ≤ " + std::to_string(data_size) + ", the size of the data section");
  return std::pair(begin, end);
}

Result<TensorView> readTensor(const std::string& name, const JsonObject& entry, std::span<const std::byte> data) {
  EXO_TRY(entry.refuseUnknown({"dtype", "shape", "data_offsets"}));
  EXO_ASSIGN(const std::string dtype_name, entry.string("dtype"));
  const std::optional<DType> dtype = parseDType(dtype_name);
  if (!dtype) return entry.expected("dtype", "one of BOOL, U8, I8, F8_E4M3, F8_E5M2, I16, U16, F16, BF16, I32, U32, F32, I64, U64, F64");
  TensorView tensor{name, *dtype};
  EXO_ASSIGN(tensor.shape, readShape(entry));
  EXO_ASSIGN(const auto offsets, readOffsets(entry, data.size()));
  const auto [begin, end] = offsets;
  tensor.bytes = data.subspan(begin, end - begin);

  const std::optional<int64_t> count = countElements(tensor.shape);
  int64_t size_bytes = 0;
  if (!count || __builtin_mul_overflow(*count, static_cast<int64_t>(sizeBytes(*dtype)), &size_bytes))
    return entry.expected("shape", "a size below 2^63 bytes");
  if (static_cast<size_t>(size_bytes) != tensor.bytes.size())
    return invalid(entry.path("data_offsets"), ": expected ", size_bytes, " bytes for ", dtype_name,
                   shapeText(tensor.shape), ", got ", tensor.bytes.size());
  return tensor;
}

Result<std::map<std::string, std::string>> readMetadata(const JsonObject& entry) {
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : entry.json().items()) {
    if (!value.is_string()) return entry.expected(key, "a string");
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

// In order of offset each tensor must begin where the one before ended, and the last end where the file does.
Status checkCoverage(const SafetensorsHeader& header, std::span<const std::byte> data, const std::string& where) {
  std::vector<const TensorView*> order;
  for (const TensorView& tensor : header.tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const TensorView* a, const TensorView* b) {
    return std::pair(a->bytes.data(), a->bytes.size()) < std::pair(b->bytes.data(), b->bytes.size());
  });
  size_t covered = 0;
  for (const TensorView* tensor : order) {
    const auto begin = static_cast<size_t>(tensor->bytes.data() - data.data());
    if (begin != covered)
      return invalid(where, ": ", tensor->name, ": expected data at offset ", covered, ", where the tensor before ends, got ",
                     begin, begin < covered ? " (overlap)" : " (gap)");
    covered += tensor->bytes.size();
  }
  if (covered != data.size())
    return invalid(where, ": expected ", covered, " bytes of tensor data after the header, got ", data.size());
  return {};
}

std::string headerJson(std::span<const TensorToWrite> tensors) {
  Json header = Json::object();
  size_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    const size_t end = offset + tensor.bytes.size();
    header[tensor.name] = {{"dtype", name(tensor.dtype)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that data starts aligned
  return text;
}

Status checkWritable(const std::string& where, std::span<const TensorToWrite> tensors) {
  std::vector<std::string> names;
  for (const TensorToWrite& tensor : tensors) {
    const std::optional<int64_t> count = countElements(tensor.shape);
    if (!count || static_cast<size_t>(*count) * sizeBytes(tensor.dtype) != tensor.bytes.size())
      return invalid(where, ": ", tensor.name, ": expected as many bytes as ", name(tensor.dtype), shapeText(tensor.shape),
                     " needs, got ", tensor.bytes.size());
    names.push_back(tensor.name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) return invalid(where, ": expected unique tensor names, got \"", *twice, "\" twice");
  return {};
}

}  // namespace

int64_t TensorView::numElements() const { return countElements(shape).value_or(0); }

std::string shapeText(std::span<const int64_t> shape) {
  std::string text = "[";
  for (const int64_t dim : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + "]";
}

Result<SafetensorsHeader> parseSafetensors(std::span<const std::byte> file, const std::string& where) {
  EXO_ASSIGN(const std::string_view text, headerText(file, where));
  const auto data = file.subspan(kLengthBytes + text.size());
  const JsonLimits limits{.max_bytes = kMaxSafetensorsHeaderBytes, .max_depth = 8};
  EXO_ASSIGN(const Json json, parseJson(text, where, limits, DuplicateKeys::kRefuse));
  EXO_ASSIGN(const JsonObject root, JsonObject::root(json, where));
  SafetensorsHeader header;
  for (const auto& [key, value] : json.items()) {  // sorted by key, and so are the tensors
    EXO_ASSIGN(const JsonObject entry, root.object(key));
    if (key == kMetadataKey) {
      EXO_ASSIGN(header.metadata, readMetadata(entry));
      continue;
    }
    EXO_ASSIGN(TensorView tensor, readTensor(key, entry, data));
    header.tensors.push_back(std::move(tensor));
  }
  EXO_TRY(checkCoverage(header, data, where));
  return header;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  EXO_ASSIGN(MappedFile file, MappedFile::open(path));
  EXO_ASSIGN(SafetensorsHeader header, parseSafetensors(file.bytes(), path.string()));
  return SafetensorsFile(std::move(file), std::move(header), path.string());
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto& tensors = header_.tensors;
  const auto found = std::lower_bound(tensors.begin(), tensors.end(), name,
                                      [](const TensorView& tensor, std::string_view wanted) { return tensor.name < wanted; });
  return found != tensors.end() && found->name == name ? &*found : nullptr;
}

TensorToWrite TensorToWrite::f32(std::string name, std::vector<int64_t> shape, std::span<const float> values) {
  return {std::move(name), DType::kF32, std::move(shape), std::as_bytes(values)};
}

TensorToWrite TensorToWrite::i64(std::string name, std::vector<int64_t> shape, std::span<const int64_t> values) {
  return {std::move(name), DType::kI64, std::move(shape), std::as_bytes(values)};
}

Status writeSafetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors) {
  EXO_TRY(checkWritable(path.string(), tensors));
  const std::string header = headerJson(tensors);
  EXO_ASSIGN(ReplacingFile file, ReplacingFile::create(path));
  std::array<std::byte, kLengthBytes> length;
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = static_cast<std::byte>(header.size() >> (8 * i) & 0xff);
  EXO_TRY(file.write(length));
  EXO_TRY(file.write(std::as_bytes(std::span(header))));
  for (const TensorToWrite& tensor : tensors) EXO_TRY(file.write(tensor.bytes));
  return std::move(file).commit();
}

}  // namespace exo
