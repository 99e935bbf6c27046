// File format: "EXOOBJ1\n", u64 key bytes, u64 object bytes, u64 checksum of key and object, key, object; little-endian hosts.
#include "codegen/object_cache.h"

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace exo::codegen {
namespace {

constexpr char kMagic[8] = {'E', 'X', 'O', 'O', 'B', 'J', '1', '\n'};

struct Header {
  char magic[8];
  uint64_t key_bytes, object_bytes, checksum;
};

uint64_t fnv1a(const std::string& bytes, uint64_t hash = 0xcbf29ce484222325u) {
  for (unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001b3u;
  return hash;
}

std::optional<std::string> readFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream out;
  out << in.rdbuf();
  return in.bad() ? std::nullopt : std::optional(std::move(out).str());
}

/// Distinct for every writer in every process, so that two never share a temporary file.
std::string temporaryName(const std::string& path) {
  static std::atomic<int> counter{0};
  return path + "." + std::to_string(getpid()) + "." + std::to_string(counter++) + ".tmp";
}

}  // namespace

std::string ObjectCache::path(const std::string& key) const {
  char name[64];
  std::snprintf(name, sizeof(name), "/%016llx.exoobj", static_cast<unsigned long long>(fnv1a(key)));
  return directory_ + name;
}

std::optional<std::string> ObjectCache::load(const std::string& key) const {
  if (directory_.empty()) return std::nullopt;
  const std::optional<std::string> file = readFile(path(key));
  Header header;
  if (!file || file->size() < sizeof(header)) return std::nullopt;
  std::memcpy(&header, file->data(), sizeof(header));
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0 || header.key_bytes != key.size()) return std::nullopt;
  if (header.object_bytes != file->size() - sizeof(header) - std::min<uint64_t>(key.size(), file->size() - sizeof(header))) return std::nullopt;
  std::string object = file->substr(sizeof(header) + key.size());
  if (file->compare(sizeof(header), key.size(), key) != 0 || header.checksum != fnv1a(object, fnv1a(key))) return std::nullopt;
  return object;
}

void ObjectCache::store(const std::string& key, const std::string& object) const {
  if (directory_.empty()) return;
  std::error_code ignored;
  std::filesystem::create_directories(directory_, ignored);
  Header header{{}, key.size(), object.size(), fnv1a(object, fnv1a(key))};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  const std::string target = path(key), temporary = temporaryName(target);
  std::ofstream out(temporary, std::ios::binary);
  out.write(reinterpret_cast<const char*>(&header), sizeof(header)).write(key.data(), key.size()).write(object.data(), object.size());
  out.close();
  if (!out || std::rename(temporary.c_str(), target.c_str()) != 0) std::filesystem::remove(temporary, ignored);
}

}  // namespace exo::codegen
