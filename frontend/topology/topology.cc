// Reader and writer of topo.json. Every check has one place, `check...`, used for what is read and for what is written.
#include "frontend/topology/topology.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <span>

#include <nlohmann/json.hpp>

namespace exo {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxFileBytes = 64u << 20;  // 1024 nodes with every pair linked need about 60 MB
constexpr double kMaxRate = 1e12;            // beyond any unit used here: a slip of units or of a finger
constexpr size_t kMaxNameBytes = 128;

constexpr std::string_view kTransportNames[] = {"shm", "rdma", "tcp"};  // order of TopologyLink::Transport

/// A figure of a node or link: the field's name and where it lies.
template <class Owner>
struct Figure {
  std::string_view name;
  double Owner::* member;
};
constexpr Figure<TopologyNode> kNodeFigures[] = {{"memory_gib", &TopologyNode::memory_gib},
                                                 {"read_gb_per_s", &TopologyNode::read_gb_per_s},
                                                 {"int8_gop_per_s", &TopologyNode::int8_gop_per_s},
                                                 {"f32_gflop_per_s", &TopologyNode::f32_gflop_per_s}};
constexpr Figure<TopologyLink> kLinkFigures[] = {{"latency_us", &TopologyLink::latency_us},
                                                 {"bandwidth_gbit_per_s", &TopologyLink::bandwidth_gbit_per_s}};

size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

/// Text of an untrusted file for an error message: short and printable.
std::string shown(std::string_view text) {
  std::string out = "\"";
  for (char c : text.substr(0, 64)) out += static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c;
  return out + (text.size() > 64 ? "...\"" : "\"");
}

std::string nearest(std::string_view wanted, std::span<const std::string_view> known) {
  if (wanted.size() > 64 || known.empty()) return "";
  const auto best = std::min_element(known.begin(), known.end(), [&](std::string_view a, std::string_view b) {
    return editDistance(wanted, a) < editDistance(wanted, b);
  });
  return " (nearest known: \"" + std::string(*best) + "\")";
}

std::string kindOf(const Json& json) {
  if (json.is_string()) return "the string " + shown(json.get_ref<const std::string&>());
  if (json.is_number()) return json.dump();
  return json.is_object() ? "an object" : json.is_array() ? "an array" : json.is_null() ? "null" : json.dump();
}

Status checkFields(const Json& object, const std::string& where, std::span<const std::string_view> known) {
  if (!object.is_object()) return invalid(where, ": must be an object, got ", kindOf(object));
  for (const auto& [key, value] : object.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      return invalid(where, ": unknown field ", shown(key), nearest(key, known));
  return {};
}

Result<std::string> stringField(const Json& object, const char* key, const std::string& where) {
  if (!object.contains(key)) return invalid(where, ": field \"", key, "\" is missing");
  if (!object[key].is_string()) return invalid(where, ".", key, ": must be a string, got ", kindOf(object[key]));
  return object[key].get<std::string>();
}

Status readFigure(const Json& object, std::string_view key, const std::string& where, double& figure) {
  const auto found = object.find(std::string(key));
  if (found == object.end()) return {};
  if (!found->is_number()) return invalid(where, ".", key, ": must be a number, got ", kindOf(*found));
  figure = found->get<double>();
  if (!(figure > 0)) return invalid(where, ".", key, ": must be above 0 (leave it out if it is unknown), got ", found->dump());
  return {};
}

Status readCores(const Json& object, const std::string& where, int& cores) {
  const auto found = object.find("cores");
  if (found == object.end()) return {};
  if (!found->is_number_integer() || found->get<double>() < 1 || found->get<double>() > 65536)
    return invalid(where, ".cores: must be a whole number from 1 to 65536, got ", kindOf(*found));
  cores = found->get<int>();
  return {};
}

Result<TopologyNode> readNode(const Json& json, const std::string& where) {
  constexpr std::string_view known[] = {"name", "address", "memory_gib", "cores", "read_gb_per_s", "int8_gop_per_s", "f32_gflop_per_s"};
  EXO_TRY(checkFields(json, where, known));
  TopologyNode node;
  EXO_ASSIGN(node.name, stringField(json, "name", where));
  EXO_ASSIGN(node.address, stringField(json, "address", where));
  for (const auto& figure : kNodeFigures) EXO_TRY(readFigure(json, figure.name, where, node.*figure.member));
  EXO_TRY(readCores(json, where, node.cores));
  return node;
}

Result<TopologyLink::Transport> readTransport(const Json& json, const std::string& where) {
  if (!json.contains("transport")) return TopologyLink::Transport::kTcp;
  EXO_ASSIGN(const std::string text, stringField(json, "transport", where));
  const auto found = std::find(std::begin(kTransportNames), std::end(kTransportNames), text);
  if (found == std::end(kTransportNames)) return invalid(where, ".transport: must be shm, rdma or tcp, got ", shown(text));
  return static_cast<TopologyLink::Transport>(found - std::begin(kTransportNames));
}

Result<TopologyLink> readLink(const Json& json, const std::string& where) {
  constexpr std::string_view known[] = {"between", "transport", "latency_us", "bandwidth_gbit_per_s"};
  EXO_TRY(checkFields(json, where, known));
  const auto between = json.find("between");
  if (between == json.end()) return invalid(where, ": field \"between\" is missing");
  if (!between->is_array() || between->size() != 2 || !(*between)[0].is_string() || !(*between)[1].is_string())
    return invalid(where, ".between: must be two node names, [\"n0\", \"n1\"]");
  TopologyLink link;
  link.from = (*between)[0].get<std::string>();
  link.to = (*between)[1].get<std::string>();
  EXO_ASSIGN(link.transport, readTransport(json, where));
  for (const auto& figure : kLinkFigures) EXO_TRY(readFigure(json, figure.name, where, link.*figure.member));
  return link;
}

Result<uint64_t> bytesField(const Json& object, const char* key, const std::string& where) {
  const Json& value = object[key];
  if (!value.is_number_unsigned()) return invalid(where, ".", key, ": must be a whole number of bytes, got ", kindOf(value));
  return value.get<uint64_t>();
}

Result<TopologyCollective> readCollective(const Json& json, const std::string& where) {
  constexpr std::string_view known[] = {"operation", "group", "one_shot_bytes", "two_shot_bytes"};
  EXO_TRY(checkFields(json, where, known));
  EXO_ASSIGN(const std::string operation, stringField(json, "operation", where));
  if (operation != "all_reduce") return invalid(where, ".operation: must be all_reduce, got ", shown(operation));
  for (const char* key : {"group", "one_shot_bytes"})
    if (!json.contains(key)) return invalid(where, ": field \"", key, "\" is missing");
  TopologyCollective collective;
  if (!json["group"].is_array()) return invalid(where, ".group: must be an array of node names, got ", kindOf(json["group"]));
  for (const Json& name : json["group"]) {
    if (!name.is_string()) return invalid(where, ".group: must be an array of node names, got ", kindOf(name), " in it");
    collective.group.push_back(name.get<std::string>());
  }
  EXO_ASSIGN(collective.one_shot_bytes, bytesField(json, "one_shot_bytes", where));
  if (json.contains("two_shot_bytes")) {
    EXO_ASSIGN(collective.two_shot_bytes, bytesField(json, "two_shot_bytes", where));
  }
  return collective;
}

bool isPrintable(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) <= 32 || c == 127; });
}

Status checkAddress(const std::string& address, const std::string& where) {
  const auto bad = [&](const char* why) {
    return invalid(where, ".address: must be host:port, for example 10.0.0.2:52416 or [fe80::2]:52416, got ", shown(address), " (", why, ")");
  };
  if (address.size() > 300 || !isPrintable(address)) return bad("too long, or blanks in it");
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return bad("no port");
  const std::string host = address.substr(0, colon), port = address.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (host.empty()) return bad("no host");
  if (!bracketed && host.find_first_of("[]:/") != std::string::npos) return bad("an IPv6 host stands in brackets, and no scheme before it");
  const bool digits = !port.empty() && port.size() <= 5 && std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || std::stoi(port) > 65535) return bad("the port is not a number from 0 to 65535");
  return {};
}

template <class Owner>
Status checkFigures(const Owner& owner, std::span<const Figure<Owner>> figures, const std::string& where) {
  for (const auto& figure : figures) {
    const double value = owner.*figure.member;
    if (!(value >= 0 && value <= kMaxRate)) return invalid(where, ".", figure.name, ": must lie between 0 and ", kMaxRate, ", got ", value);
  }
  return {};
}

Status checkNodes(const Topology& topology, const std::string& file, std::map<std::string, size_t>& index_of) {
  if (topology.nodes.empty()) return invalid(file, ": nodes: must name at least one node");
  if (topology.nodes.size() > kMaxTopologyNodes)
    return invalid(file, ": nodes: at most ", kMaxTopologyNodes, " nodes, got ", topology.nodes.size());
  std::map<std::string, size_t> address_of;
  for (size_t i = 0; i < topology.nodes.size(); ++i) {
    const TopologyNode& node = topology.nodes[i];
    const std::string where = file + ": nodes[" + std::to_string(i) + "]";
    if (node.name.empty() || node.name.size() > kMaxNameBytes || !isPrintable(node.name))
      return invalid(where, ".name: must be 1 to ", kMaxNameBytes, " characters without blanks, got ", shown(node.name));
    if (const auto [at, is_new] = index_of.emplace(node.name, i); !is_new)
      return invalid(where, ".name: ", shown(node.name), " is also the name of nodes[", at->second, "]");
    EXO_TRY(checkAddress(node.address, where));
    const bool any_port = node.address.ends_with(":0");
    if (const auto [at, is_new] = address_of.emplace(node.address, i); !is_new && !any_port)
      return invalid(where, ".address: ", shown(node.address), " is also the address of nodes[", at->second, "]");
    EXO_TRY(checkFigures<TopologyNode>(node, kNodeFigures, where));
    if (node.cores < 0) return invalid(where, ".cores: must not be negative, got ", node.cores);
  }
  return {};
}

Error noSuchNode(const Topology& topology, const std::string& where, const std::string& name) {
  std::vector<std::string_view> known;
  for (const TopologyNode& node : topology.nodes) known.push_back(node.name);
  return invalid(where, ": there is no node ", shown(name), nearest(name, known));
}

Status checkLinks(const Topology& topology, const std::string& file, const std::map<std::string, size_t>& index_of) {
  std::set<std::tuple<size_t, size_t, TopologyLink::Transport>> seen;
  for (size_t i = 0; i < topology.links.size(); ++i) {
    const TopologyLink& link = topology.links[i];
    const std::string where = file + ": links[" + std::to_string(i) + "]";
    const auto from = index_of.find(link.from), to = index_of.find(link.to);
    for (const std::string& name : {link.from, link.to})
      if (!index_of.contains(name)) return noSuchNode(topology, where + ".between", name);
    if (from == to) return invalid(where, ".between: links ", shown(link.from), " with itself");
    const auto [low, high] = std::minmax(from->second, to->second);
    if (!seen.emplace(low, high, link.transport).second)
      return invalid(where, ": a second ", toString(link.transport), " link between ", shown(link.from), " and ", shown(link.to));
    EXO_TRY(checkFigures<TopologyLink>(link, kLinkFigures, where));
  }
  return {};
}

Status checkCollectives(const Topology& topology, const std::string& file, const std::map<std::string, size_t>& index_of) {
  std::set<std::set<std::string>> seen;
  for (size_t i = 0; i < topology.collectives.size(); ++i) {
    const TopologyCollective& collective = topology.collectives[i];
    const std::string where = file + ": collectives[" + std::to_string(i) + "]";
    std::set<std::string> group;
    for (const std::string& name : collective.group) {
      if (!index_of.contains(name)) return noSuchNode(topology, where + ".group", name);
      if (!group.insert(name).second) return invalid(where, ".group: names ", shown(name), " twice");
    }
    if (group.size() < 2) return invalid(where, ".group: must name two nodes or more, got ", group.size());
    if (!seen.insert(std::move(group)).second) return invalid(where, ".group: these nodes stand in an earlier entry already");
    if (collective.two_shot_bytes.value_or(collective.one_shot_bytes) < collective.one_shot_bytes)
      return invalid(where, ".two_shot_bytes: must not be below one_shot_bytes, ", collective.one_shot_bytes, ", got ", *collective.two_shot_bytes);
  }
  return {};
}

Status check(const Topology& topology, const std::string& file) {
  std::map<std::string, size_t> index_of;
  EXO_TRY(checkNodes(topology, file, index_of));
  EXO_TRY(checkLinks(topology, file, index_of));
  return checkCollectives(topology, file, index_of);
}

/// Parses strictly: a key twice in one object is an error (the library would keep the last), and so is depth nobody needs.
Result<Json> parseJson(std::string_view text, const std::string& file) {
  std::vector<std::set<std::string>> keys;
  std::string twice;
  bool deep = false;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) twice = value.get<std::string>();
    deep |= depth > 8;
    return !deep;  // what lies too deep is dropped: the error below is all that is left of it
  };
  try {
    Json json = Json::parse(text, watch);
    if (deep) return invalid(file, ": nested deeper than a topology can be");
    if (!twice.empty()) return invalid(file, ": field ", shown(twice), " stands twice in one object");
    return json;
  } catch (const std::exception& failure) {
    return invalid(file, ": not valid JSON: ", failure.what());
  }
}

Result<std::vector<Json>> arrayField(const Json& json, const char* key, const std::string& file) {
  if (!json[key].is_array()) return invalid(file, ": ", key, ": must be an array, got ", kindOf(json[key]));
  return std::vector<Json>(json[key].begin(), json[key].end());
}

}  // namespace

std::string_view toString(TopologyLink::Transport transport) { return kTransportNames[static_cast<size_t>(transport)]; }

Result<Topology> parseTopology(std::string_view text, const std::string& file) {
  EXO_ASSIGN(const Json json, parseJson(text, file));
  constexpr std::string_view known[] = {"nodes", "links", "collectives"};
  EXO_TRY(checkFields(json, file, known));
  if (!json.contains("nodes")) return invalid(file, ": field \"nodes\" is missing");
  Topology topology;
  EXO_ASSIGN(const std::vector<Json> nodes, arrayField(json, "nodes", file));
  for (size_t i = 0; i < nodes.size(); ++i) {
    EXO_ASSIGN(TopologyNode node, readNode(nodes[i], file + ": nodes[" + std::to_string(i) + "]"));
    topology.nodes.push_back(std::move(node));
  }
  if (json.contains("links")) {
    EXO_ASSIGN(const std::vector<Json> links, arrayField(json, "links", file));
    for (size_t i = 0; i < links.size(); ++i) {
      EXO_ASSIGN(TopologyLink link, readLink(links[i], file + ": links[" + std::to_string(i) + "]"));
      topology.links.push_back(std::move(link));
    }
  }
  if (json.contains("collectives")) {
    EXO_ASSIGN(const std::vector<Json> collectives, arrayField(json, "collectives", file));
    for (size_t i = 0; i < collectives.size(); ++i) {
      EXO_ASSIGN(TopologyCollective collective, readCollective(collectives[i], file + ": collectives[" + std::to_string(i) + "]"));
      topology.collectives.push_back(std::move(collective));
    }
  }
  EXO_TRY(check(topology, file));
  return topology;
}

Result<Topology> readTopology(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return makeError(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "cannot read ", path, ": ", std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return makeError(ErrorCode::kIo, "cannot read ", path, ": not a regular file");
  std::ifstream file(path, std::ios::binary);
  std::string text(std::min<size_t>(static_cast<size_t>(info.st_size), kMaxFileBytes + 1), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file) return makeError(ErrorCode::kIo, "cannot read ", path);
  if (text.size() > kMaxFileBytes) return invalid(path, ": larger than ", kMaxFileBytes >> 20, " MiB, which no topology is");
  return parseTopology(text, path);
}

Result<std::string> formatTopology(const Topology& topology) {
  EXO_TRY(check(topology, "topology"));
  Json nodes = Json::array(), links = Json::array();
  for (const TopologyNode& node : topology.nodes) {
    Json json{{"name", node.name}, {"address", node.address}};
    for (const auto& figure : kNodeFigures)
      if (node.*figure.member > 0) json[std::string(figure.name)] = node.*figure.member;
    if (node.cores > 0) json["cores"] = node.cores;
    nodes.push_back(std::move(json));
  }
  for (const TopologyLink& link : topology.links) {
    Json json{{"between", {link.from, link.to}}, {"transport", toString(link.transport)}};
    for (const auto& figure : kLinkFigures)
      if (link.*figure.member > 0) json[std::string(figure.name)] = link.*figure.member;
    links.push_back(std::move(json));
  }
  Json whole{{"nodes", nodes}, {"links", links}};
  for (const TopologyCollective& collective : topology.collectives) {
    Json json{{"operation", "all_reduce"}, {"group", collective.group}, {"one_shot_bytes", collective.one_shot_bytes}};
    if (collective.two_shot_bytes) json["two_shot_bytes"] = *collective.two_shot_bytes;
    whole["collectives"].push_back(std::move(json));
  }
  try {
    return whole.dump(2) + "\n";
  } catch (const std::exception& failure) {  // a name that is not UTF-8
    return invalid("topology: cannot be written as JSON: ", failure.what());
  }
}

Status writeTopology(const std::string& path, const Topology& topology) {
  EXO_ASSIGN(const std::string text, formatTopology(topology));
  const std::string beside = path + ".new." + std::to_string(::getpid());
  const int file = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return makeError(ErrorCode::kIo, "cannot write ", beside, ": ", std::strerror(errno));
  size_t done = 0;
  bool good = true;
  while (good && done < text.size()) {
    const ssize_t wrote = ::write(file, text.data() + done, text.size() - done);
    good = wrote > 0 || (wrote < 0 && errno == EINTR);
    if (wrote > 0) done += static_cast<size_t>(wrote);
  }
  good = good && ::fsync(file) == 0;
  good = ::close(file) == 0 && good;
  good = good && ::rename(beside.c_str(), path.c_str()) == 0;
  if (good) return {};
  const int why = errno;
  ::unlink(beside.c_str());
  return makeError(ErrorCode::kIo, "cannot write ", path, ": ", std::strerror(why));
}

Topology loopbackTopology(int num_nodes) {
  EXO_CHECK(num_nodes >= 1 && num_nodes <= static_cast<int>(kMaxTopologyNodes)) << num_nodes;
  Topology topology;
  for (int i = 0; i < num_nodes; ++i) topology.nodes.push_back({.name = "n" + std::to_string(i), .address = "127.0.0.1:0"});
  return topology;
}

}  // namespace exo
