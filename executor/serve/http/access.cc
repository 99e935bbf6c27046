#include "executor/serve/http/access.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <fstream>

namespace exo::serve::http {
namespace {

constexpr size_t kMinKeyBytes = 8;

/// Without the port: "name", "1.2.3.4", "::1".
std::string hostOf(const std::string& authority) {
  if (authority.starts_with('[')) return authority.substr(1, authority.find(']') - 1);
  return authority.substr(0, authority.find(':'));
}

/// Nobody else's name resolves to a literal address.
bool isAddress(const std::string& host) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

bool contains(const std::vector<std::string>& list, const std::string& value) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& entry) { return entry == "*" || equalsIgnoringCase(entry, value); });
}

bool isOurHost(const AccessRules& rules, const std::string& authority) {
  const std::string host = hostOf(authority);
  if (isAddress(host) || equalsIgnoringCase(host, "localhost") || host.ends_with(".localhost")) return true;
  return contains(rules.hosts, host);
}

/// In time that does not tell how much of it was right.
bool equalSecrets(const std::string& a, const std::string& b) { return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

const std::string* bearerToken(const Request& head, std::string& place) {
  if (const std::string* key = head.header("X-Api-Key")) return key;
  const std::string* authorization = head.header("Authorization");
  constexpr std::string_view kScheme = "Bearer ";
  if (!authorization || !equalsIgnoringCase(std::string_view(*authorization).substr(0, kScheme.size()), kScheme)) return nullptr;
  place = authorization->substr(kScheme.size());
  return &place;
}

}  // namespace

Result<std::vector<std::string>> readKeys(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) return makeError(ErrorCode::kNotFound, "cannot read the keys in ", file.string());
  std::vector<std::string> keys;
  for (std::string line; std::getline(in, line);) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) line.pop_back();
    if (line.empty() || line.starts_with('#')) continue;
    if (line.size() < kMinKeyBytes) return invalid(file.string(), ": expected keys of at least ", kMinKeyBytes, " bytes, key ", keys.size() + 1, " has ", line.size());
    keys.push_back(line);
  }
  if (keys.empty()) return invalid(file.string(), ": expected at least one key, one per line");
  return keys;
}

const char* explain(Access access) {
  switch (access) {
    case Access::kAllowed: return "allowed";
    case Access::kBadHost: return "the Host header names a host that this server does not answer for (--http_hosts lists them)";
    case Access::kBadOrigin: return "pages of this Origin may not use this server (--http_origins lists them)";
    case Access::kNoKey: return "an API key is needed: \"Authorization: Bearer KEY\" or \"X-Api-Key: KEY\"";
    case Access::kBadKey: return "the API key is not one of this server's";
  }
  return "";
}

Access checkBrowser(const AccessRules& rules, const Request& head) {
  const std::string* host = head.header("Host");
  if (host && !isOurHost(rules, *host)) return Access::kBadHost;
  const std::string* origin = head.header("Origin");
  if (!origin || contains(rules.origins, *origin)) return Access::kAllowed;
  const size_t scheme = origin->find("://");
  const bool same = host && scheme != std::string::npos && equalsIgnoringCase(origin->substr(scheme + 3), *host);
  return same ? Access::kAllowed : Access::kBadOrigin;
}

Access checkKey(const AccessRules& rules, const Request& head) {
  if (rules.keys.empty()) return Access::kAllowed;
  std::string place;
  const std::string* given = bearerToken(head, place);
  if (!given) return Access::kNoKey;
  bool known = false;
  for (const std::string& key : rules.keys) known |= equalSecrets(key, *given);
  return known ? Access::kAllowed : Access::kBadKey;
}

Headers corsHeaders(const Request& head) {
  const std::string* origin = head.header("Origin");
  if (!origin) return {};
  return {{"Access-Control-Allow-Origin", *origin}, {"Access-Control-Expose-Headers", "x-request-id, request-id, retry-after"}, {"Vary", "Origin"}};
}

Response preflight(const Request& head) {
  const std::string* asked = head.header("Access-Control-Request-Headers");
  return {204, {{"Allow", "GET, HEAD, POST, DELETE, OPTIONS"}, {"Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS"},
                {"Access-Control-Allow-Headers", asked ? *asked : "authorization, content-type, x-api-key"}, {"Access-Control-Max-Age", "600"}}, ""};
}

}  // namespace exo::serve::http
