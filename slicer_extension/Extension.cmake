set(EXTENSION_HOMEPAGE "https://github.com/StrokeLabel/StrokeLabel")
set(EXTENSION_CATEGORY "Segmentation")
set(EXTENSION_CONTRIBUTORS "The StrokeLabel developers")
set(EXTENSION_DESCRIPTION "Segment a stroke lesion on any brain MRI, correct it, submit it; the model learns from it.")
set(EXTENSION_ICONURL "${EXTENSION_HOMEPAGE}/raw/main/slicer_extension/StrokeLabel.png")
set(EXTENSION_SCREENSHOTURLS "${EXTENSION_HOMEPAGE}/raw/main/slicer_extension/docs/images/segment.png")
set(EXTENSION_DEPENDS "NA")

find_package(Slicer REQUIRED)
include(${Slicer_USE_FILE})

add_subdirectory(${CMAKE_CURRENT_LIST_DIR}/StrokeLabel StrokeLabel)

include(${Slicer_EXTENSION_GENERATE_CONFIG})
include(${Slicer_EXTENSION_CPACK})
