// exoc opt: runs passes on IR text; with none it prints the file back.
#include <gflags/gflags.h>

#include <iostream>

#include "frontend/driver/commands/commands.h"
#include "ir/text.h"

DEFINE_string(passes, "", "passes to run, in order: a,b,c ('-' and '_' are the same); all: from the first to the last");
DECLARE_int64(step_tokens);

namespace exo {

namespace {

Result<std::vector<const Pass*>> passesFromFlag() {
  std::vector<const Pass*> passes;
  if (FLAGS_passes == "all") {
    for (const Pass& pass : allPasses()) passes.push_back(&pass);
    return passes;
  }
  std::string rest = FLAGS_passes;
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string name = rest.substr(0, comma);
    rest = comma == std::string::npos ? "" : rest.substr(comma + 1);
    const Pass* pass = findPass(name);
    if (!pass) {
      std::string known;
      for (const Pass& p : allPasses()) known += (known.empty() ? "" : ", ") + std::string(p.name);
      return invalid("--passes: no pass is called \"", name, "\"; there are ", known);
    }
    passes.push_back(pass);
  }
  return passes;
}

/// The comment lines a dump starts with, kept as they are when nothing changes.
std::string leadingComments(const std::string& text) {
  size_t end = 0;
  while (text.compare(end, 2, "//") == 0) {
    const size_t line_end = text.find('\n', end);
    if (line_end == std::string::npos) return text;
    end = line_end + 1;
  }
  return text.substr(0, end);
}

}  // namespace

Result<int> runOpt(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(const std::string path, onlyArgument(arguments, "a file of IR text"));
  EXO_ASSIGN(const auto passes, passesFromFlag());
  EXO_ASSIGN(const std::string text, readTextFile(path));
  EXO_ASSIGN(Module module, parseModule(text, path));
  PassOptions options;
  options.max_tokens = options.max_rows = FLAGS_step_tokens;
  Notes notes;
  EXO_ASSIGN(module, runPasses(std::move(module), passes, options, notes));
  std::cout << (passes.empty() ? leadingComments(text) : dumpHeader(std::string(passes.back()->name))) << print(module);
  for (const std::string& note : notes) std::cerr << "note: " << note << "\n";
  return 0;
}

}  // namespace exo
