// What a dialect makes of answers, as text for the client. One Reply serves one HTTP request; its functions are called one at a
// time, and need no engine and no connection: they are tested with literals.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "executor/serve/dialects/answer_parser.h"
#include "executor/serve/dialects/api_error.h"

namespace exo::serve {

/// One of the n answers, so far or, when `end` is there, whole.
struct Answer {
  AnswerPart part;          // tokens: only those of the last step, unless they are kept (Job::keep_tokens)
  PromptProgress prompt;
  CompletionEnd end;
  bool ended = false;
};

/// Which of the model's two: the id and the time are the same in all chunks.
struct ReplyIdentity {
  std::string id;           // "chatcmpl-…"
  std::string model;
  int64_t created = 0;      // seconds since 1970
};

class Reply {
 public:
  virtual ~Reply() = default;

  /// The whole answer, where it is not streamed.
  virtual std::string whole(const std::vector<Answer>& answers) = 0;

  // Streams: begin, then any number of parts and one end for each answer, then end. All return text to send, maybe none.
  virtual const char* streamType() const = 0;
  virtual std::string begin(const std::vector<Answer>& answers) = 0;
  virtual std::string part(size_t index, const AnswerPart& part) = 0;
  virtual std::string answerEnd(size_t index, const Answer& answer) = 0;
  virtual std::string end(const std::vector<Answer>& answers) = 0;
  /// Instead of the rest.
  virtual std::string failure(const ApiError& error) = 0;
  /// Says nothing, so that nobody gives up waiting.
  virtual std::string keepAlive() = 0;
};

/// A request of a dialect, ready for the engine.
struct Job {
  std::vector<CompletionRequest> requests;   // n of them
  AnswerParserOptions parser;
  bool stream = false;
  bool keep_tokens = false;                  // the whole answer shows log-probabilities
  std::unique_ptr<Reply> reply;
};

/// "data: {…}\n\n", with "event: name\n" before it if there is a name.
std::string serverSentEvent(const std::string& data, const char* event = nullptr);
/// `prefix` and 24 random hexadecimal digits.
std::string newId(const std::string& prefix);
int64_t unixSeconds();

constexpr const char* kEventStream = "text/event-stream; charset=utf-8";

}  // namespace exo::serve
