// exoc chat: a conversation with a model of a running server, on a terminal or in a pipe.
#include <gflags/gflags.h>
#include <histedit.h>
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <iterator>

#include "frontend/driver/commands/commands.h"
#include "frontend/driver/commands/server_flags.h"
#include "frontend/driver/server/conversation.h"

DEFINE_string(system, "", "what the model is told before all else");
DEFINE_string(think, "", "on or off, for models that can reason first; default: as the model likes");
DEFINE_bool(verbose, false, "counts and rates after each answer");
DECLARE_double(temperature);
DECLARE_double(top_p);
DECLARE_int64(top_k);
DECLARE_uint64(seed);
DECLARE_int64(max_tokens);

namespace exo {

namespace {

using Json = ServerClient::Json;

std::atomic<bool> interrupted = false;   // all that the signal handler touches

/// While it lives Ctrl-C stops answers and not the program.
class AnswerInterrupt {
 public:
  AnswerInterrupt() { install([](int) { interrupted = true; }); }
  ~AnswerInterrupt() { install(SIG_DFL); }
  AnswerInterrupt(const AnswerInterrupt&) = delete;
  AnswerInterrupt& operator=(const AnswerInterrupt&) = delete;

 private:
  static void install(void (*handler)(int)) {
    struct sigaction action = {};
    action.sa_handler = handler;
    ::sigaction(SIGINT, &action, nullptr);
  }
};

/// The one model that is loaded, or else the one that is there.
Result<std::string> defaultModel(ServerClient& server) {
  std::string names;
  for (const char* path : {"/api/ps", "/api/tags"}) {
    EXO_ASSIGN(const Json answer, server.get(path));
    const Json models = answer.value("models", Json::array());
    if (models.size() == 1) return models[0].value("name", "");
    names.clear();
    for (const Json& model : models) names += "\n  " + model.value("name", "");
    if (!models.empty()) break;
  }
  return invalid("expected the name of a model; the server has:", names.empty() ? " none" : names);
}

ConversationOutput writeTo(bool terminal) {
  ConversationOutput output;
  output.text = [](const std::string& text) { std::cout << text << std::flush; };
  output.thinking = [terminal](const std::string& text) {
    if (terminal) std::cerr << "\033[2m" << text << "\033[0m" << std::flush;
  };
  output.note = [](const std::string& text) { std::cerr << text << std::flush; };
  return output;
}

Status applyFlags(Conversation& conversation) {
  const auto given = [](const char* flag) { return !gflags::GetCommandLineFlagInfoOrDie(flag).is_default; };
  Json& options = conversation.options();
  if (given("temperature")) options["temperature"] = FLAGS_temperature;
  if (given("top_p")) options["top_p"] = FLAGS_top_p;
  if (given("top_k")) options["top_k"] = FLAGS_top_k;
  if (given("seed")) options["seed"] = FLAGS_seed;
  if (given("max_tokens")) options["num_predict"] = FLAGS_max_tokens;
  conversation.setSystem(FLAGS_system);
  conversation.setVerbose(FLAGS_verbose);
  if (FLAGS_think.empty()) return {};
  if (FLAGS_think != "on" && FLAGS_think != "off") return invalid("--think: expected on or off, got \"", FLAGS_think, '"');
  conversation.setThink(FLAGS_think == "on");
  return {};
}

/// Lines from a terminal, with editing and the lines before.
class LineReader {
 public:
  LineReader() : editor_(el_init("exoc", stdin, stderr, stderr), el_end), history_(history_init(), history_end) {
    HistEvent event;
    history(history_.get(), &event, H_SETSIZE, 1000);
    el_set(editor_.get(), EL_PROMPT, +[](EditLine* editor) -> const char* {
      void* more = nullptr;
      el_get(editor, EL_CLIENTDATA, &more);
      return more ? ". " : "> ";
    });
    el_set(editor_.get(), EL_EDITOR, "emacs");
    el_set(editor_.get(), EL_HIST, history, history_.get());
  }

  /// Without its end; nothing at the end of the input. Ctrl-C gives an empty line.
  std::optional<std::string> next(bool goes_on) {
    el_set(editor_.get(), EL_CLIENTDATA, goes_on ? this : nullptr);
    int length = 0;
    interrupted = false;
    const char* line = el_gets(editor_.get(), &length);
    if (interrupted.exchange(false)) {
      std::cerr << "\n(Ctrl-D or /bye leaves)\n";
      el_set(editor_.get(), EL_CLIENTDATA, nullptr);
      el_reset(editor_.get());
      return "";
    }
    if (!line || length <= 0) return std::nullopt;
    HistEvent event;
    if (length > 1) history(history_.get(), &event, H_ENTER, line);
    std::string text(line, static_cast<size_t>(length));
    if (text.ends_with('\n')) text.pop_back();
    return text;
  }

  /// A message: a line, or what stands between two """.
  std::optional<std::string> message() {
    constexpr std::string_view kQuotes = "\"\"\"";
    std::optional<std::string> line = next(false);
    if (!line || !line->starts_with(kQuotes)) return line;
    std::string text = line->substr(kQuotes.size());
    while (!text.ends_with(kQuotes)) {
      line = next(true);
      if (!line) return std::nullopt;
      text += "\n" + *line;
    }
    return text.substr(text.starts_with('\n') ? 1 : 0, text.size() - kQuotes.size() - (text.starts_with('\n') ? 1 : 0));
  }

 private:
  std::unique_ptr<EditLine, void (*)(EditLine*)> editor_;
  std::unique_ptr<History, void (*)(History*)> history_;
};

/// Until /bye or the end of the input. Errors of single messages are told, and the conversation goes on.
Result<int> converse(Conversation& conversation) {
  const AnswerInterrupt interrupt;
  LineReader reader;
  std::cerr << conversation.model() << " · /help tells more\n";
  while (std::optional<std::string> line = reader.message()) {
    if (line->find_first_not_of(" \t\n") == std::string::npos) continue;
    Status done;
    if (line->starts_with('/')) {
      const auto after = conversation.command(*line, interrupted);
      if (after.ok() && *after == Conversation::After::kLeave) return 0;
      if (!after.ok()) done = after.error();
    } else {
      done = conversation.say(*line, interrupted);
      std::cout << std::endl;
    }
    interrupted = false;
    if (!done.ok() && done.error().code() != ErrorCode::kCancelled) std::cerr << "exoc: " << done.error() << "\n";
  }
  std::cerr << "\n";
  return 0;
}

/// Words of the command line, and what comes through a pipe before them.
std::string pipedMessage(const std::vector<std::string>& words) {
  std::string message;
  if (!::isatty(STDIN_FILENO)) message.assign(std::istreambuf_iterator<char>(std::cin), {});
  while (message.ends_with('\n')) message.pop_back();
  for (size_t i = 0; i < words.size(); ++i) message += (i > 0 ? " " : message.empty() ? "" : "\n\n") + words[i];
  return message;
}

}  // namespace

Result<int> runChat(const std::vector<std::string>& arguments) {
  EXO_ASSIGN(ServerClient server, serverFromFlags());
  std::string model = arguments.empty() ? "" : arguments[0];
  if (model.empty()) {
    EXO_ASSIGN(model, defaultModel(server));
  }
  Conversation conversation(server, model, writeTo(::isatty(STDERR_FILENO) != 0));
  EXO_TRY(applyFlags(conversation));
  if (::isatty(STDIN_FILENO) && arguments.size() < 2) return converse(conversation);
  const std::string message = pipedMessage({arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end()});
  if (message.empty()) return invalid("expected a message in the pipe or behind the model's name");
  static const std::atomic<bool> never{false};   // an interrupt ends the program
  EXO_TRY(conversation.say(message, never));
  std::cout << std::endl;
  return 0;
}

}  // namespace exo
