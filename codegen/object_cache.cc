// File format: "EXOOBJ1\n", u64 key bytes, u64 object bytes, u64 checksum of key and object, key, object; little-endian hosts.
#include "codegen/object_cache.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "ir/base/owned_file.h"

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

/// Nothing where there is no file, or one that another user could have written.
std::optional<std::string> readFile(const std::string& path) {
  const Result<FileDescriptor> file = openOwnedFile(path, O_RDONLY);
  if (!file.ok()) return std::nullopt;
  std::string bytes;
  char buffer[65536];
  for (;;) {
    const ssize_t count = ::read((*file).get(), buffer, sizeof buffer);
    if (count < 0) return std::nullopt;
    if (count == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(count));
  }
}

bool writeAll(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file, bytes.data(), bytes.size());
    if (count <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  return true;
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
  if (!makeOwnedDirectory(directory_).ok()) return;
  Header header{{}, key.size(), object.size(), fnv1a(object, fnv1a(key))};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  const std::string target = path(key), temporary = temporaryName(target);
  const Result<FileDescriptor> file = openOwnedFile(temporary, O_WRONLY | O_CREAT | O_EXCL);
  if (!file.ok()) return;
  const bool written = writeAll((*file).get(), {reinterpret_cast<const char*>(&header), sizeof header}) && writeAll((*file).get(), key) &&
                       writeAll((*file).get(), object);
  if (!written || std::rename(temporary.c_str(), target.c_str()) != 0) ::unlink(temporary.c_str());
}

}  // namespace exo::codegen
