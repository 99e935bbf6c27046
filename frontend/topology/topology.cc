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

#include "frontend/topology/json_fields.h"

namespace exo {
namespace {

constexpr size_t kMaxFileBytes = 64u << 20;  // 1024 nodes with every pair linked need about 60 MB
constexpr double kMaxRate = 1e12;            // beyond any unit used here: a slip of units or of a finger
constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxPoints = 64;            // of a curve, steps or timings
constexpr uint64_t kMaxThreads = 65536;

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
                                                 {"bandwidth_gbit_per_s", &TopologyLink::bandwidth_gbit_per_s},
                                                 {"barrier_us", &TopologyLink::barrier_us}};

Status readCores(const Json& object, const std::string& where, int& cores) {
  const auto found = object.find("cores");
  if (found == object.end()) return {};
  if (!found->is_number_integer() || found->get<double>() < 1 || found->get<double>() > 65536)
    return invalid(where, ".cores: must be a whole number from 1 to 65536, got ", kindOf(*found));
  cores = found->get<int>();
  return {};
}

/// [[1, 10.5], [2, 19.8]]: a whole number and a figure each.
template <class Use>
Status readPairs(const Json& object, const char* key, const std::string& where, const Use& use) {
  EXO_ASSIGN(const std::vector<Json> pairs, arrayField(object, key, where));
  if (pairs.size() > kMaxPoints) return invalid(where, ".", key, ": at most ", kMaxPoints, " points, got ", pairs.size());
  for (const Json& pair : pairs) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() || !pair[1].is_number())
      return invalid(where, ".", key, ": each point must be a whole number and a figure, as [64, 2.5], got ", shown(pair.dump()));
    use(pair[0].get<uint64_t>(), pair[1].get<double>());
  }
  return {};
}

Result<TopologyNode> readNode(const Json& json, const std::string& where) {
  constexpr std::string_view known[] = {"name", "address", "memory_gib", "cores", "read_gb_per_s", "int8_gop_per_s", "f32_gflop_per_s", "read_by_threads"};
  EXO_TRY(checkFields(json, where, known));
  TopologyNode node;
  EXO_ASSIGN(node.name, stringField(json, "name", where));
  EXO_ASSIGN(node.address, stringField(json, "address", where));
  for (const auto& figure : kNodeFigures) EXO_TRY(readFigure(json, figure.name, where, node.*figure.member));
  EXO_TRY(readCores(json, where, node.cores));
  EXO_TRY(readPairs(json, "read_by_threads", where, [&](uint64_t threads, double rate) {
    node.read_by_threads.push_back({static_cast<int>(std::min<uint64_t>(threads, kMaxThreads + 1)), rate});
  }));
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
  constexpr std::string_view known[] = {"between", "transport", "latency_us", "bandwidth_gbit_per_s", "barrier_us", "curve"};
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
  EXO_TRY(readPairs(json, "curve", where, [&](uint64_t bytes, double us) { link.curve.push_back({bytes, us}); }));
  return link;
}

Result<ReduceStep> readStep(const Json& json, const std::string& where) {
  constexpr std::string_view known[] = {"algorithm", "up_to_bytes"};
  EXO_TRY(checkFields(json, where, known));
  EXO_ASSIGN(const std::string text, stringField(json, "algorithm", where));
  const auto found = std::find(std::begin(kReduceAlgorithmNames), std::end(kReduceAlgorithmNames), text);
  if (found == std::end(kReduceAlgorithmNames))
    return invalid(where, ".algorithm: must be one-shot, two-shot, chain or hierarchical, got ", shown(text));
  ReduceStep step{static_cast<ReduceAlgorithm>(found - std::begin(kReduceAlgorithmNames)), std::nullopt};
  if (json.contains("up_to_bytes")) {
    EXO_ASSIGN(step.up_to_bytes, bytesField(json, "up_to_bytes", where));
  }
  return step;
}

Result<TopologyCollective::Timing> readTiming(const Json& json, const std::string& where) {
  constexpr std::string_view known[] = {"bytes", "one-shot", "two-shot", "chain", "hierarchical"};
  EXO_TRY(checkFields(json, where, known));
  if (!json.contains("bytes")) return invalid(where, ": field \"bytes\" is missing");
  TopologyCollective::Timing timing;
  EXO_ASSIGN(timing.bytes, bytesField(json, "bytes", where));
  for (int a = 0; a < kNumReduceAlgorithms; ++a) EXO_TRY(readFigure(json, kReduceAlgorithmNames[a], where, timing.us[a]));
  return timing;
}

/// What files had before "steps": one-shot up to one_shot_bytes, two-shot up to two_shot_bytes, chain above.
Result<std::vector<ReduceStep>> readOldSteps(const Json& json, const std::string& where) {
  EXO_ASSIGN(const uint64_t one_shot_bytes, bytesField(json, "one_shot_bytes", where));
  std::vector<ReduceStep> steps = {{ReduceAlgorithm::kOneShot, one_shot_bytes}};
  if (!json.contains("two_shot_bytes")) {
    steps.push_back({ReduceAlgorithm::kTwoShot, std::nullopt});
    return steps;
  }
  EXO_ASSIGN(const uint64_t two_shot_bytes, bytesField(json, "two_shot_bytes", where));
  if (two_shot_bytes < one_shot_bytes) return invalid(where, ".two_shot_bytes: must not be below one_shot_bytes, ", one_shot_bytes, ", got ", two_shot_bytes);
  if (two_shot_bytes > one_shot_bytes) steps.push_back({ReduceAlgorithm::kTwoShot, two_shot_bytes});
  steps.push_back({ReduceAlgorithm::kChain, std::nullopt});
  return steps;
}

Result<TopologyCollective> readCollective(const Json& json, const std::string& where) {
  constexpr std::string_view known[] = {"operation", "group", "steps", "barrier_us", "timings", "one_shot_bytes", "two_shot_bytes"};
  EXO_TRY(checkFields(json, where, known));
  EXO_ASSIGN(const std::string operation, stringField(json, "operation", where));
  if (operation != "all_reduce") return invalid(where, ".operation: must be all_reduce, got ", shown(operation));
  if (!json.contains("group")) return invalid(where, ": field \"group\" is missing");
  TopologyCollective collective;
  if (!json["group"].is_array()) return invalid(where, ".group: must be an array of node names, got ", kindOf(json["group"]));
  for (const Json& name : json["group"]) {
    if (!name.is_string()) return invalid(where, ".group: must be an array of node names, got ", kindOf(name), " in it");
    collective.group.push_back(name.get<std::string>());
  }
  EXO_TRY(readFigure(json, "barrier_us", where, collective.barrier_us));
  EXO_ASSIGN(const std::vector<Json> timings, arrayField(json, "timings", where));
  for (size_t i = 0; i < timings.size(); ++i) {
    EXO_ASSIGN(const TopologyCollective::Timing timing, readTiming(timings[i], where + ".timings[" + std::to_string(i) + "]"));
    collective.timings.push_back(timing);
  }
  if (json.contains("one_shot_bytes") == json.contains("steps"))
    return invalid(where, json.contains("steps") ? ": \"steps\" and \"one_shot_bytes\" say the same thing twice" : ": field \"steps\" is missing");
  if (json.contains("one_shot_bytes")) {
    EXO_ASSIGN(collective.steps, readOldSteps(json, where));
    return collective;
  }
  EXO_ASSIGN(const std::vector<Json> steps, arrayField(json, "steps", where));
  for (size_t i = 0; i < steps.size(); ++i) {
    EXO_ASSIGN(const ReduceStep step, readStep(steps[i], where + ".steps[" + std::to_string(i) + "]"));
    collective.steps.push_back(step);
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

/// Ascending and within bounds.
template <class Point, class Key, class Value>
Status checkPoints(const std::vector<Point>& points, const std::string& where, const Key& key, uint64_t most, const Value& value) {
  if (points.size() > kMaxPoints) return invalid(where, ": at most ", kMaxPoints, " points, got ", points.size());
  for (size_t i = 0; i < points.size(); ++i) {
    const uint64_t at = key(points[i]);
    if (at == 0 || at > most) return invalid(where, ": a point must lie between 1 and ", most, ", got ", at);
    if (i > 0 && at <= key(points[i - 1])) return invalid(where, ": points must ascend, got ", at, " after ", key(points[i - 1]));
    if (!(value(points[i]) > 0 && value(points[i]) <= kMaxRate)) return invalid(where, ": a figure must lie above 0 and up to ", kMaxRate, ", got ", value(points[i]));
  }
  return {};
}

Status checkSteps(const TopologyCollective& collective, const std::string& where) {
  const std::vector<ReduceStep>& steps = collective.steps;
  if (steps.empty() || steps.size() > kMaxPoints || steps.back().up_to_bytes)
    return invalid(where, ".steps: must be 1 to ", kMaxPoints, " steps, the last of which has no \"up_to_bytes\"");
  for (size_t i = 0; i + 1 < steps.size(); ++i) {
    if (!steps[i].up_to_bytes) return invalid(where, ".steps[", i, "]: only the last step has no \"up_to_bytes\"");
    if (i > 0 && *steps[i].up_to_bytes <= *steps[i - 1].up_to_bytes)
      return invalid(where, ".steps[", i, "].up_to_bytes: must be above that of the step before, ", *steps[i - 1].up_to_bytes, ", got ", *steps[i].up_to_bytes);
  }
  return {};
}

Status checkTimings(const TopologyCollective& collective, const std::string& where) {
  const std::vector<TopologyCollective::Timing>& timings = collective.timings;
  if (timings.size() > kMaxPoints) return invalid(where, ".timings: at most ", kMaxPoints, ", got ", timings.size());
  for (size_t i = 0; i < timings.size(); ++i) {
    if (i > 0 && timings[i].bytes <= timings[i - 1].bytes)
      return invalid(where, ".timings[", i, "].bytes: must be above that of the one before, ", timings[i - 1].bytes, ", got ", timings[i].bytes);
    for (const double us : timings[i].us)
      if (!(us >= 0 && us <= kMaxRate)) return invalid(where, ".timings[", i, "]: a figure must lie between 0 and ", kMaxRate, ", got ", us);
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
    EXO_TRY(checkPoints(node.read_by_threads, where + ".read_by_threads", [](const auto& read) { return static_cast<uint64_t>(read.threads); }, kMaxThreads,
                        [](const auto& read) { return read.gb_per_s; }));
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
    EXO_TRY(checkPoints(link.curve, where + ".curve", [](const auto& point) { return point.bytes; }, uint64_t{1} << 40, [](const auto& point) { return point.us; }));
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
    EXO_TRY(checkSteps(collective, where));
    EXO_TRY(checkTimings(collective, where));
    if (!(collective.barrier_us >= 0 && collective.barrier_us <= kMaxRate)) return invalid(where, ".barrier_us: must lie between 0 and ", kMaxRate, ", got ", collective.barrier_us);
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

}  // namespace

std::string_view toString(TopologyLink::Transport transport) { return kTransportNames[static_cast<size_t>(transport)]; }

Result<Topology> parseTopology(std::string_view text, const std::string& file) {
  EXO_ASSIGN(const Json json, parseJson(text, file));
  constexpr std::string_view known[] = {"nodes", "links", "collectives"};
  EXO_TRY(checkFields(json, file, known));
  if (!json.contains("nodes")) return invalid(file, ": field \"nodes\" is missing");
  Topology topology;
  const auto readAll = [&](const char* key, auto read, auto& out) -> Status {
    EXO_ASSIGN(const std::vector<Json> elements, arrayField(json, key, file));
    for (size_t i = 0; i < elements.size(); ++i) {
      EXO_ASSIGN(auto element, read(elements[i], file + ": " + key + "[" + std::to_string(i) + "]"));
      out.push_back(std::move(element));
    }
    return {};
  };
  EXO_TRY(readAll("nodes", readNode, topology.nodes));
  EXO_TRY(readAll("links", readLink, topology.links));
  EXO_TRY(readAll("collectives", readCollective, topology.collectives));
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

namespace {

Json nodeJson(const TopologyNode& node) {
  Json json{{"name", node.name}, {"address", node.address}};
  for (const auto& figure : kNodeFigures)
    if (node.*figure.member > 0) json[std::string(figure.name)] = node.*figure.member;
  if (node.cores > 0) json["cores"] = node.cores;
  for (const auto& read : node.read_by_threads) json["read_by_threads"].push_back({read.threads, read.gb_per_s});
  return json;
}

Json linkJson(const TopologyLink& link) {
  Json json{{"between", {link.from, link.to}}, {"transport", toString(link.transport)}};
  for (const auto& figure : kLinkFigures)
    if (link.*figure.member > 0) json[std::string(figure.name)] = link.*figure.member;
  for (const auto& point : link.curve) json["curve"].push_back({point.bytes, point.us});
  return json;
}

Json collectiveJson(const TopologyCollective& collective) {
  Json json{{"operation", "all_reduce"}, {"group", collective.group}};
  for (const ReduceStep& step : collective.steps) {
    Json one{{"algorithm", kReduceAlgorithmNames[static_cast<size_t>(step.algorithm)]}};
    if (step.up_to_bytes) one["up_to_bytes"] = *step.up_to_bytes;
    json["steps"].push_back(std::move(one));
  }
  if (collective.barrier_us > 0) json["barrier_us"] = collective.barrier_us;
  for (const auto& timing : collective.timings) {
    Json one{{"bytes", timing.bytes}};
    for (int a = 0; a < kNumReduceAlgorithms; ++a)
      if (timing.us[a] > 0) one[kReduceAlgorithmNames[a]] = timing.us[a];
    json["timings"].push_back(std::move(one));
  }
  return json;
}

/// One element on a line: a curve is read by people as well.
template <class Elements, class ToJson>
std::string listText(const char* key, const Elements& elements, const ToJson& toJson) {
  std::string out = std::string(" \"") + key + "\": [";
  for (size_t i = 0; i < elements.size(); ++i) out += (i == 0 ? "\n  " : ",\n  ") + toJson(elements[i]).dump();
  return out + "]";
}

}  // namespace

Result<std::string> formatTopology(const Topology& topology) {
  EXO_TRY(check(topology, "topology"));
  try {
    std::string out = "{\n" + listText("nodes", topology.nodes, nodeJson) + ",\n" + listText("links", topology.links, linkJson);
    if (!topology.collectives.empty()) out += ",\n" + listText("collectives", topology.collectives, collectiveJson);
    return out + "\n}\n";
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
