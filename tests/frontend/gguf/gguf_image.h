// GGUF files for the tests, written key by key and tensor by tensor.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace exo::testing {

template <class T>
std::string bytesOf(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

template <class T>
std::string bytesOf(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

inline std::string ggufText(std::string_view text) { return bytesOf<uint64_t>(text.size()) + std::string(text); }

class GgufImage {
 public:
  GgufImage& u32(std::string_view key, uint32_t value) { return entry(key, 4, bytesOf(value)); }
  GgufImage& f32(std::string_view key, float value) { return entry(key, 6, bytesOf(value)); }
  GgufImage& boolean(std::string_view key, bool value) { return entry(key, 7, std::string(1, value ? '\1' : '\0')); }
  GgufImage& text(std::string_view key, std::string_view value) { return entry(key, 8, ggufText(value)); }
  GgufImage& texts(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes = bytesOf<uint32_t>(8) + bytesOf<uint64_t>(values.size());
    for (const std::string& value : values) bytes += ggufText(value);
    return entry(key, 9, bytes);
  }
  GgufImage& i32s(std::string_view key, const std::vector<int32_t>& values) { return entry(key, 9, bytesOf<uint32_t>(5) + bytesOf<uint64_t>(values.size()) + bytesOf(values)); }
  GgufImage& f32s(std::string_view key, const std::vector<float>& values) { return entry(key, 9, bytesOf<uint32_t>(6) + bytesOf<uint64_t>(values.size()) + bytesOf(values)); }
  GgufImage& entry(std::string_view key, uint32_t type, const std::string& value) {
    keys_ += ggufText(key) + bytesOf(type) + value;
    ++num_keys_;
    return *this;
  }
  /// `shape`: the outermost dimension first.
  GgufImage& tensor(std::string_view name, uint32_t type, const std::vector<int64_t>& shape, const std::string& bytes) {
    tensors_ += ggufText(name) + bytesOf<uint32_t>(static_cast<uint32_t>(shape.size()));
    for (auto dim = shape.rbegin(); dim != shape.rend(); ++dim) tensors_ += bytesOf<uint64_t>(static_cast<uint64_t>(*dim));
    tensors_ += bytesOf(type) + bytesOf<uint64_t>(data_.size());
    data_ += bytes;
    data_.resize((data_.size() + 31) / 32 * 32, '\0');
    ++num_tensors_;
    return *this;
  }
  std::string build(uint32_t version = 3) const {
    std::string image = "GGUF" + bytesOf(version) + bytesOf(num_tensors_) + bytesOf(num_keys_) + keys_ + tensors_;
    image.resize((image.size() + 31) / 32 * 32, '\0');
    return image + data_;
  }

 private:
  std::string keys_, tensors_, data_;
  uint64_t num_keys_ = 0, num_tensors_ = 0;
};

}  // namespace exo::testing
