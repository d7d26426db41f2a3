# Writes OUTPUT, C source that defines what kernels/opencl/sources.h declares: the text of each file of SOURCES under
# its name relative to ROOT, without the ending. String literals are cut into lines, which keeps them below what a
# compiler must take.
set(text "#include \"kernels/opencl/sources.h\"\n\nconst weir_cl_embedded_t weir_cl_embedded_sources[] = {\n")
foreach(source IN LISTS SOURCES)
    file(RELATIVE_PATH name ${ROOT} ${source})
    string(REGEX REPLACE "\\.[^.]*$" "" name ${name})
    file(READ ${source} content)
    string(REPLACE "\\" "\\\\" content "${content}")
    string(REPLACE "\"" "\\\"" content "${content}")
    string(REPLACE "\n" "\\n\"\n\"" content "${content}")
    string(APPEND text "{\"${name}\",\n\"${content}\"},\n")
endforeach()
string(APPEND text "};\nconst size_t weir_cl_embedded_count =\n")
string(APPEND text "    sizeof weir_cl_embedded_sources / sizeof weir_cl_embedded_sources[0];\n")
file(WRITE ${OUTPUT} "${text}")
