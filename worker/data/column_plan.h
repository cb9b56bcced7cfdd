// Where the texts that a job needs come from: columns of the data or of a joined file.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/data/join_table.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn::worker {

// A record's fields -> [label, text of each feature]. Immutable after Make.
class ColumnPlan {
 public:
  // Indices of the data's columns that the plan reads, for files with one list of columns.
  struct Binding {
    std::size_t columns = 0;   // of a record
    int label = -1;            // -1: none
    std::vector<int> feature;  // [features], -1: from a join
    std::vector<int> join_on;  // [joins]
  };

  // Loads the joined files. InvalidArgument: a join lacks its key column, a joined column is also
  // one of another join.
  static Result<std::unique_ptr<ColumnPlan>> Make(const proto::JobConfig& job,
                                                  const ReaderEntry& reader, bool label_optional);

  // Finds the columns in `file`. InvalidArgument names the file, a missing or doubled column and
  // what needs it, with a suggestion.
  Result<Binding> Bind(const std::string& file, std::span<const std::string> columns) const;

  // Fills texts[features] from the fields of a record.
  void Resolve(const Binding& binding, std::span<const std::string_view> fields,
               std::span<std::string_view> texts) const;

  std::size_t features() const { return features_.size(); }
  // Column of a feature's text; with its file if it is a joined one.
  std::string DescribeColumn(std::size_t feature) const;
  // The data's column that decides a feature's text: its own, or the one that its join looks up.
  std::size_t DataColumn(const Binding& binding, std::size_t feature) const;

 private:
  struct Feature {
    std::string name;
    std::string column;
    int join = -1;            // which has the column; -1: the data must
    std::size_t in_join = 0;  // index of the column there
  };
  struct Join {
    std::unique_ptr<JoinTable> table;
    std::string on;
    std::vector<std::size_t> features;  // that it serves
  };
  ColumnPlan() = default;
  Status AddJoin(const proto::JobConfig& job, const ReaderEntry& reader, int index);
  Status FindInJoins(std::size_t feature);
  Result<int> BindFeature(const Feature& feature, const std::string& file,
                          std::span<const std::string> columns) const;

  std::string label_;
  bool label_optional_ = false;
  std::vector<Feature> features_;
  std::vector<Join> joins_;
};

}  // namespace cairn::worker
