# SPDX-License-Identifier: LGPL-3.0-or-later
# Names of collectors, and what they mean to the compiler.  Included by
# embed.mk and by the library's own Makefile.
#
# For each name, with hyphens replaced by underscores:
#
#   GC_STEM_<name>      the collector is src/<stem>.c, with
#                       api/<stem>-attrs.h
#   GC_DEFS_<name>      configuration macros, for library and program
#   GC_CFLAGS_<name>    flags for src/<stem>.c only
#   GC_LIBS_<name>      libraries

gc_root_prefixes  := precise stack-conservative heap-conservative
gc_defs_precise := -DGC_PRECISE_ROOTS=1
gc_defs_stack-conservative := -DGC_CONSERVATIVE_ROOTS=1
gc_defs_heap-conservative := -DGC_CONSERVATIVE_ROOTS=1 -DGC_CONSERVATIVE_TRACE=1

gc_hyphen_to_underscore = $(subst -,_,$(1))

# $(call gc_define_mmc,ROOTS,PARALLEL,GENERATIONAL,NAME)
define gc_define_mmc
GC_MMC_COLLECTORS += $(4)
GC_STEM_$(call gc_hyphen_to_underscore,$(4)) := mmc
GC_DEFS_$(call gc_hyphen_to_underscore,$(4)) := $$(strip $$(gc_defs_$(1)) \
  $(if $(2),-DGC_PARALLEL=1) $(if $(3),-DGC_GENERATIONAL=1))
GC_CFLAGS_$(call gc_hyphen_to_underscore,$(4)) :=
GC_LIBS_$(call gc_hyphen_to_underscore,$(4)) :=
endef

GC_MMC_COLLECTORS :=
$(foreach roots,$(gc_root_prefixes),\
$(foreach parallel,no yes,\
$(foreach generational,no yes,\
$(eval $(call gc_define_mmc,$(roots),$(filter yes,$(parallel)),$(filter \
yes,$(generational)),$(patsubst precise-%,%,$(roots)-)$(if $(filter \
yes,$(parallel)),parallel-)$(if $(filter yes,$(generational)),generational-)mmc)))))
GC_MMC_COLLECTORS := $(strip $(GC_MMC_COLLECTORS))

# The control: needs the library that pkg-config calls bdw-gc.
GC_STEM_bdw := bdw
GC_DEFS_bdw := -DGC_CONSERVATIVE_ROOTS=1 -DGC_CONSERVATIVE_TRACE=1
GC_CFLAGS_bdw = $(shell pkg-config --cflags bdw-gc)
GC_LIBS_bdw = $(shell pkg-config --libs bdw-gc)

GC_ALL_COLLECTORS := bdw $(GC_MMC_COLLECTORS)

# Collectors of other libraries with this interface.
gc_collectors_not_provided := semi pcc generational-pcc

# $(call gc_collector_variable,VARIABLE,NAME), for instance
# $(call gc_collector_variable,GC_DEFS,parallel-mmc).
gc_collector_variable = $($(1)_$(call gc_hyphen_to_underscore,$(2)))

# $(call gc_check_collector,NAME): stop with an error if there is none.
gc_check_collector = \
  $(if $(filter $(gc_collectors_not_provided),$(1)),$(error \
    The collector `$(1)' is not provided by this library. \
    Provided are: $(GC_ALL_COLLECTORS)))\
  $(if $(filter $(GC_ALL_COLLECTORS),$(1)),,$(error \
    There is no collector `$(1)'. Provided are: $(GC_ALL_COLLECTORS)))\
  $(if $(filter bdw,$(1)),$(if \
    $(shell pkg-config --exists bdw-gc && echo yes),,$(error \
    The collector `bdw' needs libgc and pkg-config: \
    on Debian, install libgc-dev and pkg-config)))
