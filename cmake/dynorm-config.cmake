# find_package(dynorm) gives the targets
#   dynorm::dynorm         the shared library
#   dynorm::dynorm_static  the static library
# of the installation that this file belongs to.
cmake_minimum_required(VERSION 3.15)
include(CMakeFindDependencyMacro)
find_dependency(Threads)

# This file is in PREFIX/share/cmake/dynorm.
get_filename_component(_dynorm_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(_dynorm_include "${_dynorm_prefix}/include")

function(_dynorm_import target kind prefix suffix)
  if(TARGET dynorm::${target})
    return()
  endif()
  find_library(_dynorm_${target} NAMES "${prefix}dynorm${suffix}"
    PATHS "${_dynorm_prefix}"
    PATH_SUFFIXES "lib/${CMAKE_LIBRARY_ARCHITECTURE}" lib lib64
    NO_DEFAULT_PATH NO_CACHE)
  if(NOT _dynorm_${target})
    return()
  endif()
  add_library(dynorm::${target} ${kind} IMPORTED)
  set_target_properties(dynorm::${target} PROPERTIES
    IMPORTED_LOCATION "${_dynorm_${target}}"
    INTERFACE_INCLUDE_DIRECTORIES "${_dynorm_include}")
endfunction()

_dynorm_import(dynorm SHARED "${CMAKE_SHARED_LIBRARY_PREFIX}" "${CMAKE_SHARED_LIBRARY_SUFFIX}")
_dynorm_import(dynorm_static STATIC "${CMAKE_STATIC_LIBRARY_PREFIX}" "${CMAKE_STATIC_LIBRARY_SUFFIX}")
if(TARGET dynorm::dynorm_static)
  # What Rust's standard library needs.
  set_property(TARGET dynorm::dynorm_static PROPERTY
    INTERFACE_LINK_LIBRARIES Threads::Threads ${CMAKE_DL_LIBS} m)
endif()
if(NOT TARGET dynorm::dynorm AND NOT TARGET dynorm::dynorm_static)
  set(dynorm_FOUND FALSE)
  set(dynorm_NOT_FOUND_MESSAGE "no dynorm library under ${_dynorm_prefix}")
endif()
