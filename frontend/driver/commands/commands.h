// The commands of exoc, one file each; main.cc lists them.
#pragma once

#include "frontend/driver/command_line.h"
#include "frontend/driver/compile.h"

namespace exo {

Result<int> runCompile(const std::vector<std::string>& arguments);
Result<int> runOpt(const std::vector<std::string>& arguments);
Result<int> runDump(const std::vector<std::string>& arguments);
Result<int> runVerify(const std::vector<std::string>& arguments);
Result<int> runShow(const std::vector<std::string>& arguments);
Result<int> runPull(const std::vector<std::string>& arguments);
Result<int> runServe(const std::vector<std::string>& arguments);
Result<int> runTopo(const std::vector<std::string>& arguments);
Result<int> runChat(const std::vector<std::string>& arguments);
Result<int> runLs(const std::vector<std::string>& arguments);
Result<int> runPs(const std::vector<std::string>& arguments);
Result<int> runLoad(const std::vector<std::string>& arguments);
Result<int> runUnload(const std::vector<std::string>& arguments);
Result<int> runRun(const std::vector<std::string>& arguments);

/// Of `serve`: where and for whom.
std::vector<std::string> serveFlags();
/// Flags that say how to compile; shared by compile, run and serve.
std::vector<std::string> compileFlags();
/// Reads them.
Result<CompileOptions> compileOptionsFromFlags();
/// --nodes: a topology file, or a number of equal nodes on this machine.
Result<Topology> topologyFromFlag(const std::string& nodes);

/// The one argument a command wants; error saying what otherwise.
Result<std::string> onlyArgument(const std::vector<std::string>& arguments, const std::string& what);
/// A whole text file, at most 1 GiB.
Result<std::string> readTextFile(const std::string& path);

/// The module of a plan's dump of a pass. Error kNotFound naming the passes that were dumped.
Result<Module> readDump(const std::filesystem::path& plan, const std::string& pass);

}  // namespace exo
