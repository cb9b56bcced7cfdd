// The steps of MakeEffective, one file each. Internal to common/config.
#pragma once

#include <string>

#include "common/config/problems.h"

namespace cairn::proto {
class JobConfig;
}  // namespace cairn::proto

namespace cairn {

// Expands ranges, fills in column, table and the type's settings, checks names and types.
void CompleteFeatures(const OriginTree& origins, proto::JobConfig* job, ProblemList* problems);

// Makes `table` the complete list of used tables. Features are effective.
void CompleteTables(const OriginTree& origins, proto::JobConfig* job, ProblemList* problems);

// Checks `data` and replaces environment variables in its file names.
void CompleteData(const OriginTree& origins, proto::JobConfig* job, ProblemList* problems);

// "in line 12" or "by an override": for a second mention of something.
std::string DescribeOrigin(const Origin& origin);

}  // namespace cairn
