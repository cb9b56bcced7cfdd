// The steps of MakeEffective, one file each. Internal to common/config.
#pragma once

#include <string>
#include <vector>

#include "common/config/problems.h"

namespace cairn::proto {
class DataConfig;
class FeatureConfig;
class JobConfig;
class ModelConfig;
}  // namespace cairn::proto

namespace cairn {

// For each effective feature: where it was written.
using FeatureNodes = std::vector<const OriginTree*>;

// Expands ranges, fills in column, table and the type's settings, checks names and types.
FeatureNodes CompleteFeatures(const OriginTree& origins, proto::JobConfig* job,
                              ProblemList* problems);

// Checks what a feature as written says about itself: settings of its type, histories, crosses.
void CheckFeatureRules(const proto::FeatureConfig& feature, const OriginTree& node,
                       ProblemList* problems);

// A number that enters the model by itself, not as a key.
bool IsPlainNumber(const proto::FeatureConfig& feature);

// Whether the model takes features of role LINEAR.
bool HasLinearWeights(const proto::ModelConfig& model);

// For such a model appends "<name>.linear" for each INPUT feature that is no HISTORY, unless the
// job has that feature, as LINEAR, already. Features are effective.
void AddLinearFeatures(proto::JobConfig* job, FeatureNodes* nodes, ProblemList* problems);

// Checks targets, crosses, roles, and that the model gets the kinds of features that it reads.
// Features and tables are effective.
void CheckReferences(const OriginTree& origins, const FeatureNodes& nodes,
                     const proto::JobConfig& job, ProblemList* problems);

// Makes `table` the complete list of used tables. Features are effective.
void CompleteTables(const OriginTree& origins, proto::JobConfig* job, ProblemList* problems);

// Checks `data`, what reads its columns, and replaces environment variables in its file names.
void CompleteData(const OriginTree& origins, proto::JobConfig* job, ProblemList* problems);

// What is wrong with reading a column of the data: that it is the label, or not among the columns
// that the job itself lists. "" if nothing is.
std::string ProblemOfColumn(const proto::DataConfig& data, const std::string& column);

// "in line 12" or "by an override": for a second mention of something.
std::string DescribeOrigin(const Origin& origin);

}  // namespace cairn
