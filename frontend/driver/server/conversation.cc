#include "frontend/driver/server/conversation.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "frontend/config/suggest.h"

namespace exo {
namespace {

using Json = ServerClient::Json;

struct Split {
  std::string word, rest;
};

/// The first word, and what follows it without the spaces between.
Split splitWord(const std::string& text) {
  const size_t end = std::min(text.find_first_of(" \t"), text.size()), next = std::min(text.find_first_not_of(" \t", end), text.size());
  return {text.substr(0, end), text.substr(next)};
}

double seconds(const Json& line, const char* name) { return static_cast<double>(line.value(name, int64_t{0})) / 1e9; }

}  // namespace

struct Conversation::Command {
  const char *name, *arguments, *summary;
  std::function<Status(Conversation&, const std::string& rest, const std::atomic<bool>& cancel)> run;   // null: leaves
};

const std::vector<Conversation::Command>& Conversation::commands() {
  using Cancel = const std::atomic<bool>&;
  static const auto help = [](Conversation& c, const std::string&, Cancel) {
    std::string text;
    for (const Command& command : commands()) {
      std::string line = "  /" + std::string(command.name) + (command.arguments[0] ? " " : "") + command.arguments;
      line.resize(std::max<size_t>(line.size() + 2, 34), ' ');
      text += line + command.summary + "\n";
    }
    c.output_.note(text + "  \"\"\"                               begins and ends a message of several lines\n  Ctrl-C stops an answer, Ctrl-D leaves.\n");
    return Status();
  };
  static const std::vector<Command> kCommands = {
      {"set", "system TEXT", "what the model is told before all else", [](Conversation& c, const std::string& rest, Cancel) { return c.set(rest); }},
      {"set", "parameter NAME VALUE", "temperature, top_p, top_k, min_p, seed, num_predict, stop, …", [](Conversation& c, const std::string& rest, Cancel) { return c.set(rest); }},
      {"set", "think | nothink", "whether a model that can shall reason first", [](Conversation& c, const std::string& rest, Cancel) { return c.set(rest); }},
      {"set", "verbose | quiet", "counts and rates after each answer", [](Conversation& c, const std::string& rest, Cancel) { return c.set(rest); }},
      {"show", "", "the model and what is set", [](Conversation& c, const std::string&, Cancel) { return c.show(), Status(); }},
      {"clear", "", "begins anew, with the same settings",
       [](Conversation& c, const std::string&, Cancel) {
         c.messages_.clear();
         c.output_.note("cleared\n");
         return Status();
       }},
      {"retry", "", "another answer to the last message",
       [](Conversation& c, const std::string&, Cancel cancel) -> Status {
         if (!c.messages_.empty() && c.messages_.back()["role"] == "assistant") c.messages_.erase(c.messages_.size() - 1);
         if (c.messages_.empty()) return invalid("/retry: nothing has been said yet");
         return c.answer(cancel);
       }},
      {"load", "MODEL", "goes on with another model, from the beginning",
       [](Conversation& c, const std::string& rest, Cancel) -> Status {
         if (rest.empty()) return invalid("/load: expected the name of a model (/models lists them)");
         EXO_TRY(c.server_.post("/api/generate", {{"model", rest}, {"stream", false}}));
         c.model_ = rest;
         c.messages_.clear();
         c.output_.note("now with " + rest + "\n");
         return {};
       }},
      {"models", "", "what the server has",
       [](Conversation& c, const std::string&, Cancel) -> Status {
         EXO_ASSIGN(const Json tags, c.server_.get("/api/tags"));
         std::string text;
         for (const Json& model : tags.value("models", Json::array())) text += "  " + model.value("name", "") + "\n";
         c.output_.note(text);
         return {};
       }},
      {"help", "", "this", help},
      {"?", "", "this", help},
      {"bye", "", "leaves; so do /exit and /quit", nullptr},
  };
  return kCommands;
}

Result<Conversation::After> Conversation::command(const std::string& line, const std::atomic<bool>& cancel) {
  const Split split = splitWord(line.substr(1));
  if (split.word == "exit" || split.word == "quit") return After::kLeave;
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    names.emplace_back(command.name);
    if (split.word != command.name) continue;
    if (!command.run) return After::kLeave;
    EXO_TRY(command.run(*this, split.rest, cancel));
    return After::kGoOn;
  }
  return invalid("unknown command /", split.word, didYouMean(split.word, names), " (/help lists them)");
}

Status Conversation::set(const std::string& what) {
  const Split split = splitWord(what);
  if (split.word == "system") {
    system_ = split.rest;
  } else if (split.word == "parameter") {
    return setParameter(split.rest);
  } else if (split.word == "think" || split.word == "nothink") {
    think_ = split.word == "think";
  } else if (split.word == "verbose" || split.word == "quiet") {
    verbose_ = split.word == "verbose";
  } else {
    return invalid("/set: expected system, parameter, think, nothink, verbose or quiet, got \"", split.word, '"');
  }
  return {};
}

/// A value that is JSON is taken as that, others are texts. stop may be set several times.
Status Conversation::setParameter(const std::string& what) {
  const Split split = splitWord(what);
  if (split.word.empty() || split.rest.empty()) return invalid("/set parameter: expected a name and a value, as in /set parameter temperature 0.7");
  const Json parsed = Json::parse(split.rest, nullptr, false);
  if (split.word == "stop") {
    if (!options_.contains("stop")) options_["stop"] = Json::array();
    options_["stop"].push_back(parsed.is_string() ? parsed : Json(split.rest));
  } else {
    options_[split.word] = parsed.is_discarded() ? Json(split.rest) : parsed;
  }
  return {};
}

void Conversation::show() const {
  output_.note("  model       " + model_ + "\n  system      " + (system_.empty() ? "(none)" : system_) + "\n  parameters  " + (options_.empty() ? "(the server's)" : options_.dump()) + "\n  thinking    " +
               (think_.is_null() ? "as the model likes" : think_ == false ? "off" : "on") + "\n  messages    " + std::to_string(messages_.size()) + "\n");
}

Status Conversation::say(const std::string& message, const std::atomic<bool>& cancel) {
  messages_.push_back({{"role", "user"}, {"content", message}});
  Status done = answer(cancel);
  // One that was stopped has its answer, as far as it came.
  if (!done.ok() && messages_.back()["role"] == "user") messages_.erase(messages_.size() - 1);
  return done;
}

Status Conversation::answer(const std::atomic<bool>& cancel) {
  Json body = {{"model", model_}, {"messages", Json::array()}, {"stream", true}, {"options", options_}};
  if (!system_.empty()) body["messages"].push_back({{"role", "system"}, {"content", system_}});
  body["messages"].insert(body["messages"].end(), messages_.begin(), messages_.end());
  if (!think_.is_null()) body["think"] = think_;
  std::string content;
  Json last;
  const auto on_line = [&](const Json& line) {
    const Json message = line.value("message", Json::object());
    const std::string thinking = message.value("thinking", ""), text = message.value("content", "");
    if (!thinking.empty()) output_.thinking(thinking);
    if (!text.empty()) output_.text(text);
    content += text;
    if (line.value("done", false)) last = line;
  };
  const Status done = server_.stream("/api/chat", body, on_line, cancel);
  const bool stopped = !done.ok() && done.error().code() == ErrorCode::kCancelled;
  if (done.ok() || (stopped && !content.empty())) messages_.push_back({{"role", "assistant"}, {"content", content}});
  if (!done.ok()) return done;
  if (last.is_null()) return makeError(ErrorCode::kIo, "the server ended the answer without a word");
  if (verbose_) printStatistics(last);
  return {};
}

/// In Ollama's words, which people compare.
void Conversation::printStatistics(const Json& last) const {
  std::ostringstream out;
  out << std::fixed << std::setprecision(2) << "\ntotal duration:       " << seconds(last, "total_duration") << " s\nload duration:        " << seconds(last, "load_duration") << " s\n";
  for (const char* what : {"prompt_eval", "eval"}) {
    const std::string name = what, words = name == "eval" ? "eval" : "prompt eval";
    const auto count = last.value(name + "_count", int64_t{0});
    const double took = seconds(last, (name + "_duration").c_str());
    const auto line = [&](const std::string& label) -> std::ostream& { return out << std::left << std::setw(22) << words + " " + label + ":"; };
    line("count") << count << " tokens\n";
    line("duration") << took << " s\n";
    line("rate") << (took > 0 ? static_cast<double>(count) / took : 0) << " tokens/s\n";
  }
  output_.note(out.str());
}

}  // namespace exo
