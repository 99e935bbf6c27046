// exoc topo: asks running nodes how fast they and the links between them are, and writes topo.json; draws a topology.
#include <gflags/gflags.h>

#include <iostream>
#include <set>
#include <sstream>

#include "frontend/driver/commands/commands.h"
#include "frontend/driver/measured_topology.h"
#include "frontend/topology/drawing.h"
#include "frontend/topology/topology.h"

DECLARE_string(format);
DECLARE_string(nodes);
DECLARE_string(out);
DEFINE_string(secret_file, "", "file with the cluster secret; needed for nodes beyond this machine");
DEFINE_bool(show, false, "draw a topology: the file given, or what was just measured");

namespace exo {

namespace {

std::vector<std::string> splitList(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ',');) parts.push_back(part);
  return parts;
}

Result<std::vector<std::string>> addressesFromFlag() {
  std::vector<std::string> addresses = splitList(FLAGS_nodes);
  if (addresses.empty() || FLAGS_nodes.find(':') == std::string::npos) return invalid("--nodes: expected host:port,host:port of running nodes, got \"", FLAGS_nodes, '"');
  if (std::set<std::string>(addresses.begin(), addresses.end()).size() != addresses.size()) return invalid("--nodes: an address stands twice");
  return addresses;
}

bool isGiven(const char* flag) { return !gflags::GetCommandLineFlagInfoOrDie(flag).is_default; }

Result<int> showFile(const std::string& file, Drawing drawing) {
  for (const char* flag : {"nodes", "out"})
    if (isGiven(flag)) return invalid("--", flag, " measures nodes, and ", file, " was measured before: give one of the two");
  EXO_ASSIGN(const Topology topology, readTopology(file));
  std::cout << draw(topology, drawing);
  return 0;
}

}  // namespace

Result<int> runTopo(const std::vector<std::string>& arguments) {
  const bool draws = FLAGS_show || isGiven("format");
  if (arguments.size() > 1 || (!arguments.empty() && !draws)) return invalid("expected flags only, or --show and one file, got \"", arguments.back(), '"');
  EXO_ASSIGN(const Drawing drawing, parseDrawing(FLAGS_format));
  if (arguments.size() == 1) return showFile(arguments[0], drawing);
  if (FLAGS_out.empty() && !draws) return invalid("--out: expected a file to write the topology to");
  EXO_ASSIGN(const std::vector<std::string> addresses, addressesFromFlag());
  cluster::Security security = cluster::Security::loopbackOnly();
  if (!FLAGS_secret_file.empty()) {
    EXO_ASSIGN(security, cluster::Security::fromSecretFile(FLAGS_secret_file));
  }
  EXO_ASSIGN(const MeasuredTopology measured, measureTopology(addresses, security));
  if (draws) std::cout << draw(measured.topology, drawing);
  for (const std::string& warning : measured.warnings) std::cerr << "warning: " << warning << "; is the machine busy?\n";
  if (!FLAGS_out.empty()) {
    EXO_TRY(writeTopology(FLAGS_out, measured.topology));
    std::cerr << "written to " << FLAGS_out << "\n";
  }
  return 0;
}

}  // namespace exo
