// exoc: compiles language models for the machines you own, and runs them.
#include <glog/logging.h>

#include <algorithm>
#include <csignal>
#include <iostream>
#include <new>

#include "frontend/config/suggest.h"
#include "frontend/driver/commands/commands.h"
#include "frontend/driver/commands/local_nodes.h"
#include "frontend/driver/commands/server_flags.h"
#include "frontend/flags/flags.h"
#include "ir/base/version.h"

namespace exo {

namespace {

std::vector<std::string> with(std::vector<std::string> flags, const std::vector<std::string>& more) {
  flags.insert(flags.end(), more.begin(), more.end());
  return flags;
}

std::vector<Command> commands() {
  return {
      {"compile", "MODEL --out PLAN", "Compiles a model directory, a GGUF file or a card for a topology: writes per-node programs, the IR after every pass, and a report.",
       "  exoc compile ~/models/Llama-3.2-1B --nodes topo.json --quant q4 --out plan\n  exoc compile qwen3-235b-a22b --nodes 4 --out plan          # a card: plans need no weights\n"
       "  exoc compile llama-3.1-8b --nodes topo.json --from plan/ir/02-choose_parallelism.exoir --out plan2\n",
       with(compileFlags(), {"out"}), runCompile},
      {"run", "MODEL_OR_PLAN --prompt TEXT", "Starts the nodes on this machine and writes the text to stdout as it comes; statistics go to stderr.",
       "  exoc run ~/models/Qwen3-0.6B --nodes 3 --prompt \"Once upon a time\"\n  exoc run ~/models/Qwen3-0.6B --quant q8 --chat\n  exoc run ~/models/Qwen3-0.6B --nodes 2 --prompt Hello --profile trace.json      # open it in Perfetto\n  exoc run llama-3.2-1b --random_weights 7 --tokens 1,2,3 --max_tokens 32 --tokens_out out.json\n  exoc run plan --connect 10.0.0.1:52416 --secret_file secret --prompt \"Hello\"      # nodes started by hand\n",
       with(with(compileFlags(), localNodeFlags()), {"prompt", "tokens", "max_tokens", "ignore_eos", "temperature", "top_p", "top_k", "seed", "logits", "tokens_out", "chat", "profile", "connect", "secret_file"}), runRun},
      {"serve", "[MODEL_OR_PLAN ...]", "Starts the nodes on this machine and serves the OpenAI, Anthropic and Ollama APIs until it is interrupted; prints the address. Without a model, or with several, models are loaded when a request names them, as memory allows.",
       "  exoc serve                                                   # what exoc pull has downloaded, when it is asked for\n  exoc serve --models ~/models --memory 12\n  exoc serve ~/models/Qwen3-0.6B --quant q8\n  exoc serve Qwen/Qwen3-0.6B --nodes 2 --max_sequences 8 --http 127.0.0.1:8080\n  exoc serve plan --http 0.0.0.0:52415 --api_key_file keys\n",
       with(with(compileFlags(), localNodeFlags()), serveFlags()), runServe},
      {"chat", "[MODEL [MESSAGE]]", "Talks to a model of a running server: a conversation on a terminal, one answer in a pipe or to a message given here.",
       "  exoc chat\n  exoc chat Qwen3-0.6B --system \"Be brief.\" --verbose\n  exoc chat Qwen3-0.6B \"Why is the sky blue?\"\n  git diff | exoc chat Qwen3-0.6B \"What does this change do?\"\n",
       with(serverClientFlags(), {"system", "think", "temperature", "top_p", "top_k", "seed", "max_tokens", "verbose"}), runChat},
      {"ls", "", "Lists the models that a running server has.", "  exoc ls\n  exoc ls --server http://10.0.0.1:52415 --api_key_file key --json\n", with(serverClientFlags(), {"json"}), runLs},
      {"ps", "", "Lists the models that a running server has loaded, with memory and requests.", "  exoc ps\n  exoc ps --json\n", with(serverClientFlags(), {"json"}), runPs},
      {"load", "MODEL", "Has a running server load a model.", "  exoc load Qwen/Qwen3-0.6B\n", serverClientFlags(), runLoad},
      {"unload", "MODEL", "Has a running server let go of a model, when its answers are finished.", "  exoc unload Qwen/Qwen3-0.6B\n", serverClientFlags(), runUnload},
      {"dump", "PLAN", "Shows the sharded IR of a plan.", "  exoc dump plan\n  exoc dump plan --node n1\n  exoc dump plan --format dot | dot -Tsvg > block.svg\n", {"pass", "node", "format", "block"}, runDump},
      {"verify", "PLAN", "Proves that the plan covers every weight, meets every message and overlaps no live buffers; with weights, also runs it against one node.",
       "  exoc verify plan\n", {"static_only", "threads", "isa", "timeout"}, runVerify},
      {"opt", "FILE.exoir --passes=a,b", "Runs passes on IR text and prints the result; with no pass it prints the text back.",
       "  exoc opt plan/ir/00-import.exoir --passes=canonicalize,choose-parallelism\n", {"passes", "step_tokens"}, runOpt},
      {"show", "MODEL", "Tells what a model is: family, parameters, bytes per quantisation, in which formats weights are stored and what becomes of them, what is special.", "  exoc show qwen3-30b-a3b\n  exoc show ~/models/Qwen3-0.6B-Q8_0.gguf\n", {}, runShow},
      {"pull", "ORG/NAME", "Downloads a model from the hub (HF_ENDPOINT) into the cache that Hugging Face's tools share, and prints where it is. Other commands then take ORG/NAME too.",
       "  exoc pull Qwen/Qwen3-0.6B && exoc run Qwen/Qwen3-0.6B --prompt Hello\n  exoc pull ggml-org/gemma-3-1b-it-GGUF:Q4_K_M\n  HF_TOKEN=hf_... exoc pull meta-llama/Llama-3.2-1B@main\n", {}, runPull},
      {"topo", "--nodes A:PORT,B:PORT --out topo.json | --show FILE", "Measures running nodes (exo-exec --measure_only), the links between them and their all_reduce; draws what was measured.",
       "  exoc topo --nodes 10.0.0.1:52416,10.0.0.2:52416 --secret_file secret --out topo.json\n  exoc topo --show topo.json\n  exoc topo --show topo.json --format svg > topo.svg\n", {"nodes", "out", "secret_file", "show", "format"}, runTopo},
  };
}

std::string usage() {
  std::string text = "exoc " + std::string(kVersion) + ": compiles language models for the machines you own, and runs them\n\nUsage: exoc COMMAND ...\n\nCommands:\n";
  for (const Command& command : commands()) {
    std::string line = "  " + std::string(command.name);
    line.resize(12, ' ');
    text += line + std::string(command.summary) + "\n";
  }
  return text + "\n`exoc COMMAND --help` tells more. Exit codes: 0 done, 1 failed while running, 2 bad input.\n";
}

int fail(const Error& error) {
  std::cerr << "exoc: " << error << std::endl;
  return exitCode(error);
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    (arguments.empty() ? std::cerr : std::cout) << usage();
    return arguments.empty() ? 2 : 0;
  }
  if (arguments[0] == "--version") {
    std::cout << "exoc " << kVersion << "\n";
    return 0;
  }
  const std::vector<Command> all = commands();
  const auto command = std::find_if(all.begin(), all.end(), [&](const Command& c) { return c.name == arguments[0]; });
  if (command == all.end()) {
    std::vector<std::string> names;
    for (const Command& c : all) names.emplace_back(c.name);
    return fail(invalid("unknown command \"", arguments[0], '"', didYouMean(arguments[0], names), " (exoc --help lists them)"));
  }
  const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  if (std::find_if(rest.begin(), rest.end(), [](const std::string& a) { return a == "--help" || a == "-h"; }) != rest.end()) {
    std::cout << helpText(*command);
    return 0;
  }
  auto positional = parseFlags(rest, command->flags);
  if (!positional.ok()) return fail(positional.error());
  auto code = command->run(*positional);
  return code.ok() ? *code : fail(code.error());
}

}  // namespace

}  // namespace exo

int main(int argc, char** argv) {
  FLAGS_logtostderr = true;
  FLAGS_minloglevel = google::GLOG_WARNING;
  google::InitGoogleLogging(argv[0]);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    const int code = exo::run({argv + 1, argv + argc});
    std::cout.flush();
    if (!std::cout && code == 0) {
      std::cerr << "exoc: cannot write to standard output\n";
      return 1;
    }
    return code;
  } catch (const std::bad_alloc&) {
    std::cerr << "exoc: out of memory\n";
  } catch (const std::exception& exception) {
    std::cerr << "exoc: unexpected failure: " << exception.what() << "\n";
  }
  return 1;
}
