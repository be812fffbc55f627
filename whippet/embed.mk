# SPDX-License-Identifier: LGPL-3.0-or-later
# GNU make rules to compile the collector into a program.
#
# Set before including this file:
#
#   GC_BASE               directory of this file, with trailing slash
#   GC_COLLECTOR          name of the collector; default parallel-mmc
#   GC_EMBEDDER_H         embedder header; default whippet-embedder.h
#   GC_EMBEDDER_CPPFLAGS  extra flags for the library sources that include it
#   EMBEDDER_TO_GC_CFLAGS the same; if it is set, GC_EMBEDDER_H has no default,
#                         and these flags include the header: -include HEADER
#   GC_BUILD              opt (default), optdebug, or debug
#   GC_CC, GC_AR          compiler, and archiver that knows about LTO
#   GC_OBJDIR             prefix of object files, with trailing slash
#   GC_USE_LTTNG          1 or 0: LTTng-UST tracepoints; default: if found
#   V                     0 prints less
#
# Provided:
#
#   GC_COMPILE            command that compiles library and program sources:
#                         add -c and the source
#   GC_LINK               command that links: add objects, and GC_LIBS
#   GC_OBJS               the library's objects, for which there are rules
#   $(GC_OBJDIR)libwhippet.a   the same as an archive
#   GC_CFLAGS, GC_CPPFLAGS, GC_LDFLAGS, GC_LIBS
#
# So a program can be built by
#
#   program: program.o $(GC_OBJS)
#           $(GC_LINK) $^ $(GC_LIBS)
#   program.o: program.c
#           $(GC_COMPILE) -c $<
#   -include program.d
#
# Objects do not depend on the values of the variables above: each collector and
# each GC_BUILD needs a GC_OBJDIR of its own, or the objects must be removed
# before a change.

ifndef GC_BASE
$(error GC_BASE must be set to the directory of the collector library, with \
  a trailing slash)
endif

include $(GC_BASE)collectors.mk

GC_COLLECTOR ?= parallel-mmc
ifndef EMBEDDER_TO_GC_CFLAGS
GC_EMBEDDER_H ?= whippet-embedder.h
endif
GC_EMBEDDER_CPPFLAGS ?=
GC_BUILD ?= opt
GC_CC ?= gcc
GC_AR ?= $(if $(findstring clang,$(GC_CC)),llvm-ar,gcc-ar)
GC_OBJDIR ?=
V ?= 1

$(call gc_check_collector,$(GC_COLLECTOR))

ifndef GC_USE_LTTNG
GC_USE_LTTNG := $(if $(shell pkg-config --exists lttng-ust 2>/dev/null \
  && echo yes),1,0)
endif

gc_build_cflags_opt := -O2 -g
gc_build_cppflags_opt := -DNDEBUG
gc_build_cflags_optdebug := -O2 -g
gc_build_cppflags_optdebug := -DGC_DEBUG=1
gc_build_cflags_debug := -O0 -g
gc_build_cppflags_debug := -DGC_DEBUG=1

ifeq ($(filter opt optdebug debug,$(GC_BUILD)),)
$(error GC_BUILD is `$(GC_BUILD)': it must be opt, optdebug or debug)
endif

gc_stem := $(call gc_collector_variable,GC_STEM,$(GC_COLLECTOR))

GC_CPPFLAGS += -I$(GC_BASE)api
GC_CPPFLAGS += $(call gc_collector_variable,GC_DEFS,$(GC_COLLECTOR))
GC_CPPFLAGS += -DGC_ATTRS='"../api/$(gc_stem)-attrs.h"'
GC_CPPFLAGS += $(gc_build_cppflags_$(GC_BUILD))
GC_CFLAGS += $(gc_build_cflags_$(GC_BUILD))
GC_CFLAGS += -Wall -flto -fno-strict-aliasing -fvisibility=hidden -Wno-unused
GC_LDFLAGS += -flto=auto
GC_LIBS += -lm -lpthread
GC_LIBS += $(call gc_collector_variable,GC_LIBS,$(GC_COLLECTOR))

ifeq ($(GC_USE_LTTNG),1)
GC_CPPFLAGS += -DGC_TRACEPOINT_LTTNG=1
GC_CFLAGS += $(shell pkg-config --cflags lttng-ust)
GC_LIBS += $(shell pkg-config --libs lttng-ust)
endif

gc_quiet_0 = @echo "  $(1)	$@";
gc_quiet_1 =
gc_quiet = $(call gc_quiet_$(V),$(1))
gc_depfile = $(basename $@).d

GC_COMPILE = $(call gc_quiet,CC)$(GC_CC) $(GC_CFLAGS) $(GC_CPPFLAGS) \
  -MMD -MP -MF $(gc_depfile) -o $@
GC_LINK = $(call gc_quiet,LD)$(GC_CC) $(GC_CFLAGS) $(GC_LDFLAGS) -o $@

gc_platform_objs := gc-platform.o gc-stack.o gc-options.o gc-tracepoint.o
gc_embedder_objs := gc-ephemeron.o gc-finalizer.o gc-impl.o
GC_OBJS := $(addprefix $(GC_OBJDIR),$(gc_platform_objs) $(gc_embedder_objs))

gc_embedder_flags := $(if \
  $(GC_EMBEDDER_H),-DGC_EMBEDDER='"$(abspath $(GC_EMBEDDER_H))"')
gc_compile_embedder = $(GC_COMPILE) $(gc_embedder_flags) \
  $(GC_EMBEDDER_CPPFLAGS) $(EMBEDDER_TO_GC_CFLAGS)

# Including this file must not change what `make' does by default.
gc_saved_default_goal := $(.DEFAULT_GOAL)

$(GC_OBJDIR)gc-platform.o: $(GC_BASE)src/gc-platform-gnu-linux.c
	$(GC_COMPILE) -c $<
$(GC_OBJDIR)gc-stack.o: $(GC_BASE)src/gc-stack.c
	$(GC_COMPILE) -c $<
$(GC_OBJDIR)gc-options.o: $(GC_BASE)src/gc-options.c
	$(GC_COMPILE) -c $<
$(GC_OBJDIR)gc-tracepoint.o: $(GC_BASE)src/gc-tracepoint.c
	$(GC_COMPILE) -c $<
$(GC_OBJDIR)gc-ephemeron.o: $(GC_BASE)src/gc-ephemeron.c
	$(gc_compile_embedder) -c $<
$(GC_OBJDIR)gc-finalizer.o: $(GC_BASE)src/gc-finalizer.c
	$(gc_compile_embedder) -c $<
$(GC_OBJDIR)gc-impl.o: $(GC_BASE)src/$(gc_stem).c
	$(gc_compile_embedder) \
	  $(call gc_collector_variable,GC_CFLAGS,$(GC_COLLECTOR)) -c $<

$(GC_OBJDIR)libwhippet.a: $(GC_OBJS)
	$(call gc_quiet,AR)rm -f $@ && $(GC_AR) rcs $@ $(GC_OBJS)

# Now rather than by a rule: the program may have objects there too.
ifneq ($(GC_OBJDIR),)
$(shell mkdir -p $(GC_OBJDIR))
endif

-include $(GC_OBJS:.o=.d)

.DEFAULT_GOAL := $(gc_saved_default_goal)
