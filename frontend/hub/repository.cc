#include "frontend/hub/repository.h"

#include <algorithm>
#include <sstream>

namespace exo::hub {
namespace {

constexpr size_t kMaxNameBytes = 96;   // as on the hub

bool isNameCharacter(unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; }

bool isName(const std::string& text) {
  return !text.empty() && text.size() <= kMaxNameBytes && std::all_of(text.begin(), text.end(), isNameCharacter) && text.front() != '.' &&
         text.front() != '-' && text.find("..") == std::string::npos && text.find("--") == std::string::npos;
}

/// Cuts what follows the last `mark` off `text`; nothing where there is none.
std::optional<std::string> cutAfter(std::string& text, char mark) {
  const size_t at = text.rfind(mark);
  if (at == std::string::npos) return std::nullopt;
  std::string rest = text.substr(at + 1);
  text.resize(at);
  return rest;
}

}  // namespace

std::optional<Repository> parseRepository(const std::string& text) {
  Repository repository;
  std::string rest = text;
  if (const auto revision = cutAfter(rest, '@')) repository.revision = *revision;
  if (const auto variant = cutAfter(rest, ':')) {
    if (!isName(*variant)) return std::nullopt;
    repository.variant = *variant;
  }
  const size_t slash = rest.find('/');
  if (slash == std::string::npos) return std::nullopt;
  repository.owner = rest.substr(0, slash);
  repository.name = rest.substr(slash + 1);
  if (!isName(repository.owner) || !isName(repository.name) || !isName(repository.revision)) return std::nullopt;
  return repository;
}

Status checkPath(const std::string& path) {
  const auto bad = [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '\\'; };
  bool ok = !path.empty() && path.size() <= 1024 && std::none_of(path.begin(), path.end(), bad) && path.back() != '/';
  std::istringstream parts(path);
  for (std::string part; ok && std::getline(parts, part, '/');) ok = !part.empty() && part != "." && part != "..";
  if (!ok) return makeError(ErrorCode::kMismatch, "the hub names a file \"", path.substr(0, 100), "\"; expected a path inside the repository");
  return {};
}

bool isHex(const std::string& text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace exo::hub
