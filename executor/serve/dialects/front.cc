#include "executor/serve/dialects/front.h"

#include <arpa/inet.h>

#include <charconv>

#include "executor/serve/dialects/cluster_routes.h"

namespace exo::serve {
namespace {

struct Address {
  std::string host;
  uint16_t port = 0;
};

Result<Address> parseAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  const auto bad = [&] { return invalid("--http: expected an address and a port, as 127.0.0.1:52415 or [::1]:52415, got \"", text, "\""); };
  if (colon == std::string::npos) return bad();
  Address address{text.substr(0, colon)};
  if (address.host.starts_with('[') && address.host.ends_with(']')) address.host = address.host.substr(1, address.host.size() - 2);
  const char *begin = text.data() + colon + 1, *end = text.data() + text.size();
  const auto read = std::from_chars(begin, end, address.port);
  unsigned char bytes[16];
  const bool literal = ::inet_pton(AF_INET, address.host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, address.host.c_str(), bytes) == 1;
  if (read.ec != std::errc() || read.ptr != end || !literal) return bad();
  return address;
}

bool isLoopback(const std::string& host) { return host.starts_with("127.") || host == "::1"; }

}  // namespace

std::vector<std::string> listOf(const std::string& text) {
  std::vector<std::string> entries;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) entries.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return entries;
}

Result<FrontSettings> frontSettings(const FrontFlags& flags) {
  EXO_ASSIGN(const Address address, parseAddress(flags.address));
  FrontSettings settings;
  settings.server.host = address.host;
  settings.server.port = address.port;
  settings.access.origins = listOf(flags.origins);
  settings.access.hosts = listOf(flags.hosts);
  if (!flags.api_key_file.empty()) {
    EXO_ASSIGN(settings.access.keys, http::readKeys(flags.api_key_file));
  }
  if (!isLoopback(address.host) && settings.access.keys.empty() && !flags.without_key)
    return invalid("--http: others can reach ", address.host, "; give --api_key_file, or --http_without_key if all of them may use the model");
  return settings;
}

Front::Front(CompletionEngine& engine, const ClusterState& state, const http::AccessRules& access) : service_(engine, access) { service_.mount(clusterRoutes(engine, state)); }

Result<std::unique_ptr<Front>> Front::open(CompletionEngine& engine, const ClusterState& state, const FrontSettings& settings) {
  std::unique_ptr<Front> front(new Front(engine, state, settings.access));
  EXO_ASSIGN(front->server_, http::Server::start(settings.server, front->service_));
  front->service_.setServer(front->server_.get());
  return front;
}

std::string Front::url() const {
  const std::string& host = server_->host();
  return "http://" + (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(server_->port());
}

}  // namespace exo::serve
