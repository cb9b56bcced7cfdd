// Where each value of a job comes from, and what is wrong with it. Internal to common/config.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace cairn {

// A place in the job file (line and column from 1, column in bytes), or an override.
struct Origin {
  int override_index = -1;  // of the --set that wrote the value; -1: the file
  int line = 1;
  int column = 1;
};

// Origins of a message and everything in it, in parallel to the message: `fields[number][i]` is
// element i of a repeated field, or [0] of a single one.
struct OriginTree {
  Origin origin;         // of a scalar: its value; of a message: the name of its field
  bool damaged = false;  // something in it could not be read, so that what it lacks proves nothing
  std::map<int, std::vector<std::unique_ptr<OriginTree>>> fields;

  // The element's node, made at `where` if it is not there.
  OriginTree& Make(int number, int index, const Origin& where);
  // The element's node, or this one if it is not there.
  const OriginTree& At(int number, int index = 0) const;
  bool Has(int number) const { return fields.count(number) != 0; }
};

// Collects problems and gives them all at once. Not thread-safe.
class ProblemList {
 public:
  // `overrides` are the texts of the --set flags, in the order of Origin::override_index.
  ProblemList(std::string source, std::vector<std::string> overrides)
      : source_(std::move(source)), overrides_(std::move(overrides)) {}

  void Add(const Origin& origin, std::string message);
  bool empty() const { return problems_.empty(); }

  // OK without problems; else InvalidArgument, one line `file:line:column: message` or
  // `--set text: message` each: those of the file first, by position.
  Status ToStatus() const;

 private:
  struct Problem {
    Origin origin;
    std::string message;
  };
  std::string source_;
  std::vector<std::string> overrides_;
  std::vector<Problem> problems_;
};

}  // namespace cairn
