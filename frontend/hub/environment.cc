#include "frontend/hub/environment.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

namespace exo::hub {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPublicHub = "https://huggingface.co";

/// Empty where it is not set.
std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

fs::path underCache(const fs::path& rest) {
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) return fs::path(cache) / rest;
  const std::string home = variable("HOME");
  return home.empty() ? fs::path() : fs::path(home) / ".cache" / rest;
}

fs::path hubHome() {
  const std::string home = variable("HF_HOME");
  return home.empty() ? underCache("huggingface") : fs::path(home);
}

fs::path cacheFolder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string folder = variable(name); !folder.empty()) return folder;
  }
  const fs::path home = hubHome();
  return home.empty() ? home : home / "hub";
}

std::string tokenFromEnvironment() {
  std::string token = variable("HF_TOKEN");
  if (token.empty()) {
    const std::string path = variable("HF_TOKEN_PATH");
    std::ifstream(path.empty() ? hubHome() / "token" : fs::path(path)) >> token;
  }
  return token;
}

bool isTrue(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

}  // namespace

Result<Environment> Environment::read() {
  Environment environment{.endpoint = variable("HF_ENDPOINT"), .token = tokenFromEnvironment(), .cache = cacheFolder(), .offline = isTrue(variable("HF_HUB_OFFLINE"))};
  std::string& endpoint = environment.endpoint;
  if (endpoint.empty()) endpoint = kPublicHub;
  while (endpoint.ends_with('/')) endpoint.pop_back();
  if (!endpoint.starts_with("https://") && !endpoint.starts_with("http://")) {
    return invalid("HF_ENDPOINT: expected an address that begins with https:// or http://, got \"", endpoint, '"');
  }
  if (environment.token.find_first_of("\r\n") != std::string::npos) return invalid("HF_TOKEN: expected one line");
  if (environment.cache.empty()) return invalid("no folder for downloaded models: set HOME, XDG_CACHE_HOME or HF_HUB_CACHE");
  return environment;
}

}  // namespace exo::hub
