# Writes OUTPUT: for each file of SOURCES a line {"folder/name", "text"} of C, names relative to ROOT and without their
# ending. String literals are cut into lines, which keeps them below what a compiler must take.
set(text "")
foreach(source IN LISTS SOURCES)
    file(RELATIVE_PATH name ${ROOT} ${source})
    string(REGEX REPLACE "\\.[^.]*$" "" name ${name})
    file(READ ${source} content)
    string(REPLACE "\\" "\\\\" content "${content}")
    string(REPLACE "\"" "\\\"" content "${content}")
    string(REPLACE "\n" "\\n\"\n\"" content "${content}")
    string(APPEND text "{\"${name}\",\n\"${content}\"},\n")
endforeach()
file(WRITE ${OUTPUT} "${text}")
