// Parsing of one GGUF image: a cursor that refuses to leave it.
#include <array>
#include <bit>
#include <cstring>

#include "frontend/gguf/gguf.h"

namespace exo {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as they lie in the file");

enum ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
constexpr std::array<uint64_t, 13> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

class Cursor {
 public:
  Cursor(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  template <class T>
  Result<T> read(const char* what) {
    EXO_ASSIGN(const auto bytes, take(sizeof(T), what));
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }
  Result<std::span<const std::byte>> take(uint64_t size, const char* what) {
    if (size > file_.size() - at_) return invalid(where_, ": expected ", what, " (", size, " bytes) at offset ", at_, ", got the end of the file at ", file_.size());
    const auto bytes = file_.subspan(at_, static_cast<size_t>(size));
    at_ += static_cast<size_t>(size);
    return bytes;
  }
  Result<std::string_view> string(const char* what) {
    EXO_ASSIGN(const uint64_t size, read<uint64_t>(what));
    EXO_ASSIGN(const auto bytes, take(size, what));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  size_t at() const { return at_; }
  size_t left() const { return file_.size() - at_; }
  const std::string& where() const { return where_; }

 private:
  std::span<const std::byte> file_;
  const std::string& where_;
  size_t at_ = 0;
};

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

double numberAt(uint32_t type, const std::byte* at) { return type == kF32 ? static_cast<double>(load<float>(at)) : load<double>(at); }

/// nullopt: beyond 2^63.
std::optional<int64_t> integerAt(uint32_t type, const std::byte* at) {
  switch (type) {
    case kU8: return load<uint8_t>(at);
    case kI8: return load<int8_t>(at);
    case kU16: return load<uint16_t>(at);
    case kI16: return load<int16_t>(at);
    case kU32: return load<uint32_t>(at);
    case kI32: return load<int32_t>(at);
    case kBool: return load<uint8_t>(at) != 0;
    case kI64: return load<int64_t>(at);
    default: break;
  }
  const auto value = load<uint64_t>(at);
  return value >> 63 ? std::nullopt : std::optional(static_cast<int64_t>(value));
}

Result<GgufValue> readArray(Cursor& cursor, const std::string& key) {
  EXO_ASSIGN(const uint32_t type, cursor.read<uint32_t>("an array's type"));
  EXO_ASSIGN(const uint64_t count, cursor.read<uint64_t>("an array's size"));
  if (type == kString) {
    // Each text takes 8 bytes at least, which bounds what is reserved.
    if (count > cursor.left() / 8) return invalid(cursor.where(), ": ", key, ": expected ", count, " texts, got ", cursor.left(), " bytes until the end of the file");
    std::vector<std::string_view> texts;
    texts.reserve(static_cast<size_t>(count));
    for (uint64_t i = 0; i < count; ++i) {
      EXO_ASSIGN(const std::string_view text, cursor.string("a text of an array"));
      texts.push_back(text);
    }
    return GgufValue{std::move(texts)};
  }
  if (type == kArray || type > kF64) return makeError(ErrorCode::kUnsupported, cursor.where(), ": ", key, ": expected an array of numbers or texts, got element type ", type);
  if (count > cursor.left() / kValueBytes[type]) return invalid(cursor.where(), ": ", key, ": expected ", count, " numbers, got ", cursor.left(), " bytes until the end of the file");
  EXO_ASSIGN(const auto bytes, cursor.take(count * kValueBytes[type], "an array"));
  const auto element = [&](uint64_t i) { return bytes.data() + i * kValueBytes[type]; };
  if (type == kF32 || type == kF64) {
    std::vector<double> numbers(static_cast<size_t>(count));
    for (uint64_t i = 0; i < count; ++i) numbers[i] = numberAt(type, element(i));
    return GgufValue{std::move(numbers)};
  }
  std::vector<int64_t> integers(static_cast<size_t>(count));
  for (uint64_t i = 0; i < count; ++i) {
    const auto integer = integerAt(type, element(i));
    if (!integer) return invalid(cursor.where(), ": ", key, ": expected integers below 2^63");
    integers[i] = *integer;
  }
  return GgufValue{std::move(integers)};
}

Result<GgufValue> readValue(Cursor& cursor, const std::string& key) {
  EXO_ASSIGN(const uint32_t type, cursor.read<uint32_t>("a value's type"));
  if (type > kF64) return invalid(cursor.where(), ": ", key, ": expected a value type from 0 to 12, got ", type);
  if (type == kArray) return readArray(cursor, key);
  if (type == kString) {
    EXO_ASSIGN(const std::string_view text, cursor.string("a text"));
    return GgufValue{text};
  }
  EXO_ASSIGN(const auto bytes, cursor.take(kValueBytes[type], "a value"));
  if (type == kF32 || type == kF64) return GgufValue{numberAt(type, bytes.data())};
  const auto integer = integerAt(type, bytes.data());
  if (!integer) return invalid(cursor.where(), ": ", key, ": expected an integer below 2^63");
  if (type == kBool) return GgufValue{*integer != 0};
  return GgufValue{*integer};
}

struct TensorInfo {
  GgufTensor tensor;
  uint64_t offset;
};

/// Sizes and type of a tensor; its bytes are found when the data section's begin is known.
Result<TensorInfo> readTensor(Cursor& cursor) {
  TensorInfo info{};
  EXO_ASSIGN(const std::string_view name, cursor.string("a tensor's name"));
  info.tensor.name = std::string(name);
  EXO_ASSIGN(const uint32_t rank, cursor.read<uint32_t>("a tensor's rank"));
  if (rank < 1 || rank > 4) return invalid(cursor.where(), ": ", name, ": expected 1 to 4 dimensions, got ", rank);
  for (uint32_t i = 0; i < rank; ++i) {
    EXO_ASSIGN(const uint64_t size, cursor.read<uint64_t>("a tensor's size"));
    if (size < 1 || size >> 40) return invalid(cursor.where(), ": ", name, ": expected sizes from 1 to 2^40, got ", size);
    info.tensor.shape.insert(info.tensor.shape.begin(), static_cast<int64_t>(size));
  }
  EXO_ASSIGN(const uint32_t type, cursor.read<uint32_t>("a tensor's type"));
  info.tensor.type = findGgufType(type);
  if (!info.tensor.type) return makeError(ErrorCode::kUnsupported, cursor.where(), ": ", name, ": expected a known tensor type, got number ", type);
  EXO_ASSIGN(info.offset, cursor.read<uint64_t>("a tensor's offset"));
  return info;
}

Status placeTensor(TensorInfo& info, std::span<const std::byte> data, int64_t alignment, const std::string& where) {
  GgufTensor& tensor = info.tensor;
  const GgufType& type = *tensor.type;
  if (tensor.shape.back() % type.block_elements != 0)
    return invalid(where, ": ", tensor.name, ": expected rows of whole blocks of ", type.block_elements, " for ", type.name, ", got rows of ", tensor.shape.back());
  int64_t size = type.block_bytes;
  bool fits = !__builtin_mul_overflow(size, tensor.shape.back() / type.block_elements, &size);
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) fits = fits && !__builtin_mul_overflow(size, tensor.shape[i], &size);
  if (info.offset % static_cast<uint64_t>(alignment) != 0) return invalid(where, ": ", tensor.name, ": expected an offset that is a multiple of ", alignment, ", got ", info.offset);
  if (!fits || info.offset > data.size() || static_cast<uint64_t>(size) > data.size() - info.offset)
    return invalid(where, ": ", tensor.name, ": expected its data inside the ", data.size(), " bytes of the data section, got offset ", info.offset, fits ? " and size " + std::to_string(size) : "");
  tensor.bytes = data.subspan(static_cast<size_t>(info.offset), static_cast<size_t>(size));
  return {};
}

Status readHeader(Cursor& cursor) {
  EXO_ASSIGN(const auto magic, cursor.take(4, "the magic \"GGUF\""));
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) return invalid(cursor.where(), ": expected a GGUF file, which begins with \"GGUF\"");
  EXO_ASSIGN(const uint32_t version, cursor.read<uint32_t>("the version"));
  if (version != 0 && (version & 0xffff) == 0) return makeError(ErrorCode::kUnsupported, cursor.where(), ": expected a little-endian GGUF file, got a big-endian one");
  if (version != 2 && version != 3) return makeError(ErrorCode::kUnsupported, cursor.where(), ": expected GGUF version 2 or 3, got ", version);
  return {};
}

Result<int64_t> alignmentOf(const GgufMetadata& metadata) {
  EXO_ASSIGN(const auto found, metadata.findInteger("general.alignment"));
  const int64_t alignment = found.value_or(32);
  if (alignment < 1 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0)
    return invalid(metadata.where(), ": general.alignment: expected a power of two up to 2^20, got ", alignment);
  return alignment;
}

}  // namespace

Result<GgufContents> parseGguf(std::span<const std::byte> file, const std::string& where) {
  Cursor cursor(file, where);
  EXO_TRY(readHeader(cursor));
  EXO_ASSIGN(const uint64_t num_tensors, cursor.read<uint64_t>("the number of tensors"));
  EXO_ASSIGN(const uint64_t num_keys, cursor.read<uint64_t>("the number of keys"));
  std::map<std::string, GgufValue, std::less<>> values;
  for (uint64_t i = 0; i < num_keys; ++i) {
    EXO_ASSIGN(const std::string_view text, cursor.string("a key"));
    std::string key(text);
    EXO_ASSIGN(GgufValue value, readValue(cursor, key));
    if (!values.emplace(key, std::move(value)).second) return invalid(where, ": ", key, ": expected each key once, got it twice");
  }
  GgufContents contents{GgufMetadata(where, std::move(values)), {}};
  std::vector<TensorInfo> infos;
  for (uint64_t i = 0; i < num_tensors; ++i) {
    EXO_ASSIGN(TensorInfo info, readTensor(cursor));
    infos.push_back(std::move(info));
  }
  EXO_ASSIGN(const int64_t alignment, alignmentOf(contents.metadata));
  const uint64_t begin = (cursor.at() + static_cast<uint64_t>(alignment) - 1) / static_cast<uint64_t>(alignment) * static_cast<uint64_t>(alignment);
  const auto data = begin <= file.size() ? file.subspan(static_cast<size_t>(begin)) : std::span<const std::byte>();
  for (TensorInfo& info : infos) {
    EXO_TRY(placeTensor(info, data, alignment, where));
    contents.tensors.push_back(std::move(info.tensor));
  }
  return contents;
}

}  // namespace exo
