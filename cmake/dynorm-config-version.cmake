# The version is the installed header's. Before version 1 the minor version must be the same, from
# then on the major one.
set(_dynorm_header "${CMAKE_CURRENT_LIST_DIR}/../../../include/dynorm.h")
foreach(_dynorm_part MAJOR MINOR PATCH)
  file(STRINGS "${_dynorm_header}" _dynorm_line REGEX "^#define DYNORM_VERSION_${_dynorm_part} ")
  string(REGEX REPLACE ".* " "" _dynorm_${_dynorm_part} "${_dynorm_line}")
endforeach()
set(PACKAGE_VERSION "${_dynorm_MAJOR}.${_dynorm_MINOR}.${_dynorm_PATCH}")

set(PACKAGE_VERSION_COMPATIBLE FALSE)
set(PACKAGE_VERSION_EXACT FALSE)
if(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if(PACKAGE_VERSION VERSION_GREATER_EQUAL PACKAGE_FIND_VERSION
    AND _dynorm_MAJOR EQUAL PACKAGE_FIND_VERSION_MAJOR
    AND (_dynorm_MAJOR GREATER 0 OR _dynorm_MINOR EQUAL PACKAGE_FIND_VERSION_MINOR))
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
