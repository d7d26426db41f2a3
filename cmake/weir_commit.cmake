# Writes ${OUT}, a C file that says which commit the tree at ${SOURCE} is, "unknown" without git. Runs in
# every build; the file is touched only when the answer changes.
execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude *
    WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE commit RESULT_VARIABLE failed
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(failed OR NOT commit MATCHES "^[0-9a-f]+(-dirty)?$")
    set(commit unknown)
endif()
set(text "#include \"engine/cli/machine.h\"\n\nconst char *weir__cli_commit(void)\n{\n    return \"${commit}\";\n}\n")
set(old)
if(EXISTS ${OUT})
    file(READ ${OUT} old)
endif()
if(NOT old STREQUAL text)
    file(WRITE ${OUT} "${text}")
endif()
